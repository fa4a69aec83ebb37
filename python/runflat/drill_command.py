"""`runflat drill`."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from runflat import options
from runflat.programs import program
from runflat.train_command import config_file


def drill_command(
    config: Annotated[
        str, typer.Argument(help="A TOML or JSON file, or the name of a shipped configuration.")
    ],
    overrides: options.Overrides = None,
    faults: Annotated[int, typer.Option(min=1, help="How many faults strike.")] = 20,
    seed: Annotated[int, typer.Option(min=0, help="Of the random faults.")] = 1,
    inject: options.Faults = None,
) -> None:
    """Train on the host while ranks die, hang and come back, and say what became of each fault.

    Ranks are threads. Every run ends in training, with the losses of one that is planned with the
    same GPUs missing and of one that has them all, or in a stop for a reason; exit status 1 if one
    does not.
    """
    arguments = [str(config_file(config)), "--faults", str(faults), "--seed", str(seed)]
    for name, values in (("--set", overrides), ("--inject", inject)):
        for value in values or []:
            arguments += [name, value]
    path = program("runflat-drill")
    os.execv(path, [str(path), *arguments])
