"""`runflat calibrate`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from runflat import _core
from runflat.outputs import write_text


def calibrate_command(
    measured: Annotated[
        Path, typer.Argument(metavar="MEASURED.json", help="Times of microbenchmarks.")
    ],
    output: Annotated[
        str, typer.Option("-o", metavar="FILE", help="The parameter file; - is stdout.")
    ] = "-",
) -> None:
    """Fits a GPU's parameters to microbenchmarks of its kernels and collectives."""
    text = _core.calibrate(measured)
    write_text(output, text)
    if output != "-":
        for line in text.splitlines():
            if line.startswith("# ") and "points" in line:
                print(line[2:], file=sys.stderr)
