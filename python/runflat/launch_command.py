"""`runflat launch`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from enum import StrEnum
from typing import Annotated

import typer

from runflat import launch_kubernetes, launch_local, launch_mpirun, launch_slurm, launch_torchrun
from runflat._core import ParseError
from runflat.launch_checks import warn_of_hazards
from runflat.launch_job import LaunchJob, make_job
from runflat.launch_options import check_environment
from runflat.launch_store import check_store, environment_with
from runflat.outputs import write_text


class Launcher(StrEnum):
    """Who starts a process on every node."""

    LOCAL = "local"
    SLURM = "slurm"
    TORCHRUN = "torchrun"
    MPIRUN = "mpirun"
    KUBERNETES = "kubernetes"


_WRITERS = {
    Launcher.LOCAL: launch_local,
    Launcher.SLURM: launch_slurm,
    Launcher.TORCHRUN: launch_torchrun,
    Launcher.MPIRUN: launch_mpirun,
    Launcher.KUBERNETES: launch_kubernetes,
}


def launch_command(
    job: Annotated[
        str,
        typer.Argument(
            metavar="CONFIG|PLAN",
            help="What `runflat train` takes, or a plan.json: it trains on made-up data.",
        ),
    ],
    train_options: Annotated[
        list[str] | None,
        typer.Argument(metavar="[-- OPTIONS]", help="Of `runflat train`, for every node."),
    ] = None,
    launcher: Annotated[Launcher, typer.Option(help="Who starts it.")] = Launcher.LOCAL,
    nodes: Annotated[
        str, typer.Option(metavar="N|NAME,NAME...", help="By default those of the plan's cluster.")
    ] = "",
    store: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            envvar="RUNFLAT_STORE",
            help="Where nodes meet: redis://:password@host:6379; slurm and kubernetes bring one.",
        ),
    ] = None,
    options: Annotated[
        list[str] | None,
        typer.Option(
            "--option",
            "-O",
            metavar="OPTION",
            help="Of the launcher, as -O --partition=main; kubernetes: path=value of the JobSet.",
        ),
    ] = None,
    image: Annotated[
        str, typer.Option(help="kubernetes: the container image, which has runflat.")
    ] = "",
    only_print: Annotated[
        bool, typer.Option("--print", help="Print the job script or manifest; start nothing.")
    ] = False,
) -> None:
    """Start a job so that its nodes outlive each other, by a launcher or by its job script.

    Every node gets one process, which starts a worker for each of its GPUs. Settings with which a
    launcher would end or restart the survivors of a failure are refused.
    """
    made = make_job(job, nodes, store, train_options or [])
    check_store(made.store, made.num_nodes)
    writer = _WRITERS[launcher]
    check_environment(os.environ, writer.ENVIRONMENT)
    text = _text(launcher, made, options or [], image)
    warn_of_hazards(made.gpus_per_node > 0, os.environ)
    if only_print:
        write_text("-", text)
        return
    raise typer.Exit(_start(launcher, made, text))


def _text(launcher: Launcher, job: LaunchJob, options: list[str], image: str) -> str:
    if (launcher is Launcher.KUBERNETES) != bool(image):
        raise ParseError("--image goes with --launcher kubernetes, which needs it")
    if launcher is Launcher.KUBERNETES:
        return launch_kubernetes.make_script(job, options, image)
    return _WRITERS[launcher].make_script(job, options)


def _start(launcher: Launcher, job: LaunchJob, text: str) -> int:
    """Exit status. Those that wait for the job are this process from here on."""
    if launcher is Launcher.TORCHRUN and job.num_nodes > 1:
        raise ParseError("torchrun is started on every node: print its script with --print")
    if launcher is Launcher.MPIRUN:
        launch_mpirun.check_program()
    submit = _WRITERS[launcher].SUBMIT
    program = shutil.which(submit[0])
    if program is None:
        raise ParseError(f"{submit[0]}: not found here; --print shows what it would get")
    if launcher in (Launcher.SLURM, Launcher.KUBERNETES):
        done = subprocess.run(
            [program, *submit[1:]], input=text, text=True, env=environment_with(job.store)
        )
        return done.returncode
    sys.stdout.flush()
    os.execve(program, [*submit, text], environment_with(job.store))
