"""A script with torchrun for every node of a job, under which the agents outlive each other.

torchrun ends all processes of its node when one fails: so it has one, the agent. Its rendezvous is
the static one, the only one that leaves the other nodes alone when a node goes or comes back.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from runflat._core import ParseError
from runflat.launch_job import LaunchJob, this_program
from runflat.launch_options import WRITTEN, Refusal, check_options, words_of
from runflat.launch_store import store_lines

_SIBLINGS = "torchrun ends all processes of a node when one fails: one agent per node starts them"
_RESTARTS = "torchrun would restart the agents that survive; they start their workers themselves"
_MEMBERS = "this rendezvous restarts all agents when a node goes or comes back; static does not"
SUBMIT = ("sh", "-c")
OPTIONS = (
    Refusal(("--nproc-per-node",), _SIBLINGS, harmless="1"),
    Refusal(("--max-restarts",), _RESTARTS, harmless="0"),
    Refusal(("--rdzv-backend", "--standalone"), _MEMBERS, harmless="static"),
    Refusal(("--nnodes", "--node-rank", "--master-addr"), WRITTEN),
)
ENVIRONMENT = (
    Refusal(("PET_NPROC_PER_NODE",), _SIBLINGS, harmless="1"),
    Refusal(("PET_MAX_RESTARTS",), _RESTARTS, harmless="0"),
    Refusal(("PET_RDZV_BACKEND", "PET_STANDALONE"), _MEMBERS, harmless="static|0|"),
)


def make_script(job: LaunchJob, options: Sequence[str]) -> str:
    words = words_of(options)
    check_options(words, OPTIONS)
    command = ["torchrun", f"--nnodes={job.num_nodes}", "--nproc-per-node=1", "--max-restarts=0"]
    command += ["--rdzv-backend=static", *_rendezvous(job), *words, "--no-python", "--"]
    line = shlex.join([*command, *job.command(this_program())])
    if job.num_nodes > 1:
        line = line.replace("torchrun ", 'torchrun --node-rank="$node_rank" ', 1)
    return "\n".join(
        [
            "#!/bin/sh",
            *_head(job),
            f"cd {shlex.quote(str(Path.cwd()))} || exit",
            f"exec {line}\n",
        ]
    )


def _rendezvous(job: LaunchJob) -> list[str]:
    if job.num_nodes == 1:
        return []
    if not job.node_names:
        raise ParseError("--nodes: torchrun meets on the first of them: expected their names, a,b")
    if job.store is None:
        raise ParseError("--store: a Redis server, where the agents of several nodes meet")
    return [f"--master-addr={job.node_names[0]}"]


def _head(job: LaunchJob) -> list[str]:
    if job.num_nodes == 1:
        return store_lines(job.store, "$(date +%Y%m%d%H%M%S)-$$")
    return [
        f"# On every node, with its number and one name for this run: sh launch.sh 0 first "
        f"on {job.node_names[0]}, ...",
        "node_rank=${1:?the number of this node, from 0} run=${2:?a name of this run}",
        *store_lines(job.store, "$run"),
    ]
