"""A batch script for Slurm under which the agents of a job outlive each other.

One task per node: its agent. `--no-kill` keeps the job and the step when a node dies,
`--kill-on-bad-exit=0` and `--wait=0` keep the other tasks when one ends. The script itself runs on
the first node; a job that loses that node ends.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from runflat.launch_job import LaunchJob, this_program
from runflat.launch_options import WRITTEN, Refusal, check_options, words_of
from runflat.launch_store import store_lines

SUBMIT = ("sbatch",)
_ENDS_ALL = "Slurm would end every agent when one ends badly"
OPTIONS = (
    Refusal(("-K", "--kill-on-bad-exit"), _ENDS_ALL, harmless="0"),
    Refusal(
        ("-k", "--no-kill"),
        "the job would end with the first node that dies",
        harmful="off",
    ),
    Refusal(("-N", "--nodes", "-n", "--ntasks", "--ntasks-per-node", "--gpus-per-node"), WRITTEN),
    Refusal(("-D", "--chdir"), "the paths of the job are relative to this folder"),
    Refusal(("--signal",), "the script waits for B:USR1@SECONDS", harmless=r"B:USR1@\d+"),
)
ENVIRONMENT = (
    Refusal(("SLURM_KILL_BAD_EXIT",), _ENDS_ALL, harmless="0"),
    Refusal(
        ("SLURM_NO_KILL", "SBATCH_NO_KILL"),
        "the job would end with the first node that dies",
        harmful="off",
    ),
)
_GRACE_SECONDS = 300  # before the time limit, for a checkpoint

# A Redis server on the first node, without which the script is gone anyway.
_OWN_STORE = r"""if ! command -v redis-server > /dev/null; then
  echo "$(hostname) has no redis-server: give --store" >&2
  exit 2
fi
password=$(head -c 24 /dev/urandom | base64 | tr '+/' '-_')
port=$((20000 + SLURM_JOB_ID % 20000))
printf '%s\n' "requirepass $password" "port $port" 'bind * -::*' 'save ""' 'loglevel warning' |
  redis-server - > /dev/null &
redis=$!
trap 'kill "$redis"' EXIT
export RUNFLAT_STORE="redis://:$password@${RUNFLAT_HOST:-$(hostname)}:$port/$SLURM_JOB_ID"
"""

# Around the agent of a node. That of the first says how the job ended: srun would say how badly the
# worst one did, although the others may have gone on without it. TERM reaches the agent, too.
_AGENT = (
    'trap : TERM; "$@"; status=$?; '
    'if test "$SLURM_PROCID" = 0 -a "$status" -lt 128; '
    'then echo "$status" > "$RUNFLAT_STATUS"; fi; exit "$status"'
)
_STATUS = r"""RUNFLAT_STATUS=$(mktemp) || exit
export RUNFLAT_STATUS
"""

_WAIT = r"""step=$!
near_limit=0
trap 'near_limit=1; scancel --signal=TERM "$SLURM_JOB_ID.0"' USR1 # Slurm sends it near the limit
trap : TERM # of scancel or preemption: Slurm tells the agents too, and this waits for them
wait "$step"
while kill -0 "$step" 2> /dev/null; do wait "$step"; done
wait "$step"
status=$?
ended=$(cat "$RUNFLAT_STATUS")
rm -f "$RUNFLAT_STATUS"
"""

_REQUEUE = """if [ "$near_limit" = 1 ]; then scontrol requeue "$SLURM_JOB_ID"; fi
"""


def make_script(job: LaunchJob, options: Sequence[str]) -> str:
    words = words_of(options)
    check_options(words, OPTIONS)
    agent = job.command(this_program())
    step = ["srun", "--no-kill", "--kill-on-bad-exit=0", "--wait=0", "--cpu-bind=none"]
    if job.store is not None or job.num_nodes == 1:
        lines = store_lines(job.store, "$SLURM_JOB_ID-${SLURM_RESTART_COUNT:-0}")
    else:
        lines = _OWN_STORE.splitlines()
    return "\n".join(
        [
            *_directives(job, options),
            "umask 077",
            *lines,
            _STATUS + shlex.join([*step, "bash", "-c", _AGENT, "agent", *agent]) + " &",
            _WAIT + (_REQUEUE if job.is_resumable else "") + 'exit "${ended:-$status}"\n',
        ]
    )


def _directives(job: LaunchJob, options: Sequence[str]) -> list[str]:
    """The options a person gives come last."""
    wanted = [
        f"--job-name={job.name}",
        f"--nodes={job.num_nodes}",
        "--ntasks-per-node=1",
        *([f"--nodelist={','.join(job.node_names)}"] if job.node_names else []),
        *_whole_nodes(job),
        "--no-kill",
        "--requeue" if job.is_resumable else "--no-requeue",
        f"--signal=B:USR1@{_GRACE_SECONDS}",
        "--open-mode=append",
        f"--chdir={Path.cwd()}",
    ]
    return ["#!/bin/bash", *(f"#SBATCH {option}" for option in [*wanted, *options]), ""]


def _whole_nodes(job: LaunchJob) -> list[str]:
    """One task has one core unless it asks for more, and an agent's workers need all."""
    if job.gpus_per_node == 0:
        return []
    return [f"--gpus-per-node={job.gpus_per_node}", "--exclusive", "--mem=0"]
