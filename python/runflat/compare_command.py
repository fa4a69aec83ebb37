"""`runflat compare`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from runflat.compare import Sources, compare
from runflat.compare_table import comparison_tables
from runflat.console import stdout_console
from runflat.outputs import write_text
from runflat.run_log import read_run_log


def compare_command(
    run: Annotated[Path, typer.Argument(metavar="RUN.jsonl", help="Of `runflat train --log`.")],
    release: Annotated[
        str, typer.Option(help="Software release whose parameters price a step.")
    ] = "",
    hardware: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Parameters that `runflat calibrate` wrote instead."),
    ] = None,
    recovery: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="[recovery] of a scenario or of `runflat calibrate`."),
    ] = None,
    json_file: Annotated[
        str | None, typer.Option("--json", metavar="FILE", help="Write the numbers; - is stdout.")
    ] = None,
) -> None:
    """How long did steps and recoveries take, and what does the simulator say?

    A step against the step simulator; spans of a recovery against the costs of `runflat whatif`.
    """
    document = compare(read_run_log(run), Sources(release, hardware, recovery))
    if json_file is not None:
        write_text(json_file, json.dumps(document, indent=1) + "\n")
    if json_file != "-":
        stdout_console().print(comparison_tables(document))
