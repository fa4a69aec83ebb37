"""`runflat calibrate`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from runflat import _core
from runflat._core import ParseError
from runflat.outputs import write_text
from runflat.recovery_fit import fit_recovery, to_toml
from runflat.run_log import read_run_log


def calibrate_command(
    measured: Annotated[
        list[Path],
        typer.Argument(
            metavar="MEASURED.json|RUN.jsonl...",
            help="Times of microbenchmarks, or logs of `runflat train` with recoveries in them.",
        ),
    ],
    output: Annotated[
        str, typer.Option("-o", metavar="FILE", help="The parameter file; - is stdout.")
    ] = "-",
) -> None:
    """Fit a GPU's parameters to microbenchmarks, or the costs of recoveries to runs.

    The costs of recoveries are a [recovery] table: runflat whatif SCENARIO --set FILE.
    """
    are_runs = {path.suffix == ".jsonl" for path in measured}
    if are_runs == {True}:
        text = to_toml(fit_recovery(map(read_run_log, measured)), len(measured))
    elif len(measured) == 1:
        text = _core.calibrate(measured[0])
    else:
        raise ParseError("expected one file of microbenchmarks, or .jsonl logs of runs alone")
    write_text(output, text)
    if output != "-":
        for line in text.splitlines():
            if line.startswith("# ") and "points" in line:
                print(line[2:], file=sys.stderr)
