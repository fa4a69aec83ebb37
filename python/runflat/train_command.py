"""`runflat train`."""

from __future__ import annotations

import os
from importlib import resources
from pathlib import Path
from typing import Annotated

import typer

from runflat import options
from runflat._core import ParseError, launcher, train_world_size
from runflat.programs import program
from runflat.train_launch import run_ranks

_PACKAGE = Path(str(resources.files("runflat")))


def train_command(
    config: Annotated[
        str, typer.Argument(help="A TOML or JSON file, or the name of a shipped configuration.")
    ],
    overrides: options.Overrides = None,
    backend: Annotated[str, typer.Option(help="What ranks compute on: cpu, cuda.")] = "cpu",
    transport: Annotated[
        str | None,
        typer.Option(
            help="loopback: ranks are threads; gloo: processes; nccl: processes with a GPU each."
        ),
    ] = None,
    log: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a line of JSON per step.")
    ] = None,
    timeline: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a Chrome trace of the last step.")
    ] = None,
) -> None:
    """Train a model on any layout, nonuniform ones too.

    Starts all ranks itself; under torchrun, srun or mpirun it is the rank that they say.
    """
    path = config_file(config)
    arguments = [str(path), "--backend", backend]
    for option, value in (("--transport", transport), ("--log", log), ("--timeline", timeline)):
        arguments += [option, str(value)] if value is not None else []
    for assignment in overrides or []:
        arguments += ["--set", assignment]
    executable = str(program("runflat-train"))
    starts_processes = backend == "cuda" or transport in ("gloo", "nccl")
    if starts_processes and launcher() is None:
        world_size = train_world_size(path, overrides or [])
        raise typer.Exit(run_ranks([executable, *arguments], world_size))
    os.execv(executable, [executable, *arguments])


def config_file(name_or_path: str) -> Path:
    """A file, or the shipped configuration of this name."""
    shipped = {file.stem: file for file in sorted((_PACKAGE / "configs").glob("*.toml"))}
    path = Path(name_or_path)
    if path.suffix == "" and name_or_path not in shipped:
        raise ParseError(f"{path}: expected a .toml or .json file, or one of {', '.join(shipped)}")
    return shipped.get(name_or_path, path)
