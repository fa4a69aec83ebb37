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
    tables: Annotated[
        list[Path],
        typer.Argument(
            metavar="CSV...", help="Measured steps; tests/golden/sc21_table1.csv has the columns."
        ),
    ],
    by: Annotated[
        str,
        typer.Option(
            metavar="KEY,KEY...",
            help="Groups: model, hardware, framework, precision, gpus, table (the file).",
        ),
    ] = "hardware,framework,precision",
    leave_out: Annotated[
        str | None,
        typer.Option(
            metavar="KEY",
            help="Fit the parameter files' fitted numbers again, each value of this key left out "
            "in turn, and predict its rows: model for models that were never seen.",
        ),
    ] = None,
    json_file: Annotated[
        str | None, typer.Option("--json", metavar="FILE", help="Write every row; - is stdout.")
    ] = None,
) -> None:
    """How far are predicted steps from measured ones, and is that better than a constant MFU?"""
    keys = [key.strip() for key in by.split(",") if key.strip()]
    if leave_out is None:
        text = _core.validate_steps(tables, by=keys)
    else:
        text = _core.cross_validate_steps(tables, by=keys, leave_out=leave_out)
    if json_file is not None:
        write_text(json_file, text)
    if json_file != "-":
        document = json.loads(text)
        summary = (
            validation_summary(document)
            if leave_out is None
            else left_out_summary(document, leave_out)
        )
        stdout_console().print(summary)


def validation_summary(document: dict[str, Any]) -> Group:
    """Errors per group beside those of one rate of model FLOPs per GPU, the group's median."""
    table = _table(
        "Predicted over measured step time, minus 1",
        ("group",),
        ("rows", "MAPE", "max", "bias", "Spearman", "regret", "constant MFU"),
    )
    groups = document["groups"]
    for group in [*groups, document["all"]] if len(groups) > 1 else groups:
        table.add_row(*_cells(group), style="bold" if group is document["all"] else "")
    baseline = "constant MFU: one median rate of model FLOPs per GPU, fitted on the same rows"
    return Group(table, baseline, *_mean_lines(groups), *_notes(document))


def left_out_summary(document: dict[str, Any], key: str) -> Group:
    """Errors with the numbers as shipped, fitted to all rows, and fitted without the rows' own."""
    errors = _table(
        "Mean absolute error of step time",
        ("group",),
        ("rows", "as shipped", "fitted", f"{key} left out"),
    )
    for group in document["groups"]:
        mapes = [group[f"mape_{kind}"] for kind in ("shipped", "fitted", "left_out")]
        shown = ("-" if mape is None else percent(mape, 1) for mape in mapes)
        errors.add_row(group["name"], str(group["num_rows"]), *shown)
    numbers = _table("\nFitted numbers", ("file", "number"), ("as shipped", "fitted"))
    for number in document["numbers"]:
        values = (f"{number[kind]:.4g}" for kind in ("shipped", "fitted"))
        numbers.add_row(number["file"], number["key"], *values)
    meaning = (
        f"left out: predicted with numbers fitted to the rows of every other {key}\n"
        f"{len(document['numbers'])} numbers, {document['num_rows']} rows, "
        f"{document['num_folds']} folds"
    )
    return Group(errors, meaning, numbers, *_skipped_lines(document))


def _table(title: str, names: Iterable[str], values: Iterable[str]) -> Table:
    table = Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=None,
        pad_edge=False,
    )
    for name in names:
        table.add_column(name)
    for name in values:
        table.add_column(name, justify="right")
    return table


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
    return lines + _skipped_lines(document)


def _skipped_lines(document: dict[str, Any]) -> list[str]:
    skipped = [f"{row['id']}: {row['reason']}" for row in document["skipped"]]
    return [f"\n{len(skipped)} rows not predicted:", *skipped] if skipped else []
