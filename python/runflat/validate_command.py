"""`runflat validate`."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Group
from rich.table import Table

from runflat import _core
from runflat.console import stdout_console
from runflat.formats import percent
from runflat.outputs import write_text


def validate_command(
    table: Annotated[
        Path,
        typer.Argument(
            metavar="CSV", help="Measured steps; tests/golden/sc21_table1.csv has the columns."
        ),
    ],
    by: Annotated[
        str,
        typer.Option(
            metavar="KEY,KEY...", help="Groups: model, hardware, framework, precision, gpus."
        ),
    ] = "hardware,framework,precision",
    json_file: Annotated[
        str | None, typer.Option("--json", metavar="FILE", help="Write every row; - is stdout.")
    ] = None,
) -> None:
    """How far are predicted steps from measured ones, and is that better than a constant MFU?"""
    text = _core.validate_steps(table, by=[key.strip() for key in by.split(",") if key.strip()])
    if json_file is not None:
        write_text(json_file, text)
    if json_file != "-":
        stdout_console().print(validation_summary(json.loads(text)))


def validation_summary(document: dict[str, Any]) -> Group:
    """Errors per group beside those of one rate of model FLOPs per GPU, the group's median."""
    table = Table(
        title="Predicted over measured step time, minus 1",
        caption="constant MFU: one median rate of model FLOPs per GPU, fitted on the same rows",
        caption_justify="left",
        title_justify="left",
        title_style="bold",
        box=None,
        pad_edge=False,
    )
    table.add_column("group")
    for name in ("rows", "MAPE", "max", "bias", "Spearman", "regret"):
        table.add_column(name, justify="right")
    table.add_column("constant MFU", justify="right")
    groups = document["groups"]
    for group in [*groups, document["all"]] if len(groups) > 1 else groups:
        table.add_row(*_cells(group), style="bold" if group is document["all"] else "")
    return Group(table, *_mean_lines(groups), *_notes(document))


def _cells(group: dict[str, Any]) -> Iterable[str]:
    rank = group["spearman"]
    return (
        group["name"],
        str(group["num_rows"]),
        percent(group["mape"], 1),
        percent(group["max"], 1),
        percent(group["bias"], 1),
        "-" if rank is None or math.isnan(rank) else f"{rank:.3f}",
        percent(group["regret"], 1),
        f"{percent(group['baseline_mape'], 1)} (max {percent(group['baseline_max'], 0)})",
    )


def _mean_lines(groups: list[dict[str, Any]]) -> list[str]:
    ranks = [group["spearman"] for group in groups if group["spearman"] is not None]
    if len(groups) < 2 or not ranks:
        return []
    regret = sum(group["regret"] for group in groups) / len(groups)
    return [
        f"\nmean of {len(groups)} groups: Spearman {sum(ranks) / len(ranks):.3f}, "
        f"regret {percent(regret, 1)}"
    ]


def _notes(document: dict[str, Any]) -> list[str]:
    lines = [f"{row['id']}: {row['note']}" for row in document["rows"] if row["note"]]
    skipped = [f"{row['id']}: {row['reason']}" for row in document["skipped"]]
    if skipped:
        lines += [f"\n{len(skipped)} rows not predicted:", *skipped]
    return lines
