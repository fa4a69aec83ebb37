"""`runflat train`."""

from __future__ import annotations

import os
from importlib import resources
from pathlib import Path
from typing import Annotated

import typer

from runflat import options
from runflat._core import ParseError, launcher
from runflat.programs import program

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
    inject: options.Faults = None,
    ranks_per_gpu: options.RanksPerGpu = 1,
) -> None:
    """Train a model on any layout, nonuniform ones too.

    Starts all ranks itself; under torchrun, srun or mpirun those of the place that they say: one
    rank, or a node's. A rank that dies leaves the others training, and comes back when it can.
    """
    path = config_file(config)
    place = launcher()
    if transport is None and backend == "cpu" and place is None:
        transport = "loopback"
    if transport == "loopback" and place is not None:
        raise ParseError(f"--transport: loopback is one process, and {place} starts several")
    arguments = [str(path), "--backend", backend]
    for option, value in (("--transport", transport), ("--log", log), ("--timeline", timeline)):
        arguments += [option, str(value)] if value is not None else []
    for option, values in (("--set", overrides), ("--inject", inject)):
        for value in values or []:
            arguments += [option, value]
    if ranks_per_gpu > 1:
        arguments += ["--ranks-per-gpu", str(ranks_per_gpu)]
    executable = str(program("runflat-train" if transport == "loopback" else "runflat-agent"))
    os.execv(executable, [executable, *arguments])


def config_file(name_or_path: str) -> Path:
    """A file, or the shipped configuration of this name."""
    shipped = {file.stem: file for file in sorted((_PACKAGE / "configs").glob("*.toml"))}
    path = Path(name_or_path)
    if path.suffix == "" and name_or_path not in shipped:
        raise ParseError(f"{path}: expected a .toml or .json file, or one of {', '.join(shipped)}")
    return shipped.get(name_or_path, path)
