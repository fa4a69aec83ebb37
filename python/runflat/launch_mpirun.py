"""A script around Open MPI's mpirun under which the agents of a job outlive each other.

Version 4 ends a job with the first process that ends badly, and with the first connection to a
node that does. `--enable-recovery` together with orte_abort_on_non_zero_status 0 keeps the other
processes (either alone does not), and a remote shell that never fails once it is up the other
nodes. It kills on SIGTERM, but passes SIGUSR1 on: so the script turns one into the other and back.
Its status then says nothing, and after the loss of a node it does not return: so the agent beside
it says how the job ended, and that it did.
"""

from __future__ import annotations

import shlex
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from runflat._core import ParseError
from runflat.launch_job import LaunchJob, this_program
from runflat.launch_options import WRITTEN, Refusal, check_options, words_of
from runflat.launch_store import store_lines

SUBMIT = ("bash", "-c")
_ENDS_ALL = "mpirun would end every agent when one ends badly"
OPTIONS = (
    Refusal(("-disable-recovery", "--disable-recovery"), _ENDS_ALL),
    Refusal(
        ("-enable-recovery", "--enable-recovery", "orte_enable_recovery"),
        _ENDS_ALL,
        harmful="0|false",
    ),
    Refusal(("orte_abort_on_non_zero_status",), _ENDS_ALL, harmless="0|false"),
    Refusal(("-np", "--np", "-n", "--n", "-c", "-npernode", "--npernode", "-N"), WRITTEN),
    Refusal(("-map-by", "--map-by", "-bind-to", "--bind-to"), "an agent is alone on its node"),
    Refusal(("plm_rsh_agent",), "the script wraps it: set OMPI_MCA_plm_rsh_agent"),
    Refusal(("-host", "--host", "-H"), "give the names to --nodes"),
)
ENVIRONMENT = ()

_GRACE_SECONDS = 30  # between the end of an agent and that of the others
# On a node, where all processes get the signal. The shell waits as long as the agent does.
_AGENT = (
    'trap "kill -TERM \\$agent" USR1; (trap "" USR1; exec "$@") & agent=$!; '
    "wait $agent; while kill -0 $agent 2> /dev/null; do wait $agent; done; wait $agent; status=$?; "
    'if test "$OMPI_COMM_WORLD_RANK" = 0 -a "$status" -lt 128 -a -w "$RUNFLAT_STATUS"; then '
    'echo "$status" > "$RUNFLAT_STATUS"; fi; exit "$status"'
)

# mpirun calls it with a node and a command. ssh ends with 255 where it does not get through: after
# it got through once, the node has died, which is no failure to start.
_REMOTE_SHELL = r"""remote=$(mktemp) || exit
RUNFLAT_STATUS=$(mktemp) || exit
export RUNFLAT_STATUS
trap 'rm -f "$remote" "$RUNFLAT_STATUS"' EXIT
cat > "$remote" << 'END'
#!/bin/sh
${RUNFLAT_REMOTE_SHELL:-ssh} "$1" true || exit
${RUNFLAT_REMOTE_SHELL:-ssh} "$@"
status=$?
test "$status" = 255 || exit "$status"
END
export RUNFLAT_REMOTE_SHELL="${OMPI_MCA_plm_rsh_agent:-ssh}"
"""

_MPIRUN = 'mpirun --mca plm_rsh_agent "sh $remote"'
_WAIT = f"""mpirun=$!
trap 'kill -USR1 "$mpirun"' TERM
while kill -0 "$mpirun" 2> /dev/null && ! grep -qx 0 "$RUNFLAT_STATUS"; do sleep 1; done
for _ in $(seq {_GRACE_SECONDS}); do kill -0 "$mpirun" 2> /dev/null && sleep 1; done
kill -KILL "$mpirun" 2> /dev/null
wait "$mpirun"
status=$?
ended=$(cat "$RUNFLAT_STATUS")
exit "${{ended:-$status}}"
"""


def make_script(job: LaunchJob, options: Sequence[str]) -> str:
    if job.num_nodes > 1 and job.store is None:
        raise ParseError("--store: a Redis server, where the agents of several nodes meet")
    words = words_of(options)
    check_options(words, OPTIONS)
    command = ["mpirun", "-np", str(job.num_nodes), "--map-by", "ppr:1:node", "--bind-to", "none"]
    command += ["--host", ",".join(job.node_names)] if job.node_names else []
    command += ["--enable-recovery", "--mca", "orte_abort_on_non_zero_status", "0"]
    command += ["--mca", "plm_rsh_no_tree_spawn", "1", "-x", "RUNFLAT_STATUS"]
    command += ["-x", "RUNFLAT_STORE"] if job.store is not None else []
    command += [*words, "bash", "-c", _AGENT, "agent", *job.command(this_program())]
    return "\n".join(
        [
            "#!/bin/bash",
            f"cd {shlex.quote(str(Path.cwd()))} || exit",
            *store_lines(job.store, "$(date +%Y%m%d%H%M%S)-$$"),
            _REMOTE_SHELL + shlex.join(command).replace("mpirun", _MPIRUN, 1) + " &",
            _WAIT,
        ]
    )


def check_program() -> None:
    """ParseError unless mpirun here is the one whose options the script has."""
    path = shutil.which("mpirun")
    if path is not None:
        done = subprocess.run([path, "--version"], capture_output=True, text=True)
        if "(Open MPI) 4." not in done.stdout:
            first = (done.stdout + done.stderr).strip().partition("\n")[0]
            raise ParseError(f"{path}: expected Open MPI 4, found {first}")
