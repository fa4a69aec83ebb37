"""The job on this host alone."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from runflat._core import ParseError
from runflat.launch_job import LaunchJob, this_program
from runflat.launch_store import store_lines

SUBMIT = ("sh", "-c")
ENVIRONMENT = ()


def make_script(job: LaunchJob, options: Sequence[str]) -> str:
    if options:
        raise ParseError(f"--option {options[0]}: local has no launcher to give it to")
    if job.node_names:
        raise ParseError("--nodes: local runs on this host alone")
    return "\n".join(
        [
            "#!/bin/sh",
            f"cd {shlex.quote(str(Path.cwd()))} || exit",
            *store_lines(job.store, "$(date +%Y%m%d%H%M%S)-$$"),
            f"exec {shlex.join(job.command(this_program()))}\n",
        ]
    )
