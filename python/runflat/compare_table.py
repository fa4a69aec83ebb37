"""The tables that `runflat compare` prints."""

from __future__ import annotations

from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table

_STYLE: dict[str, Any] = {
    "title_justify": "left",
    "title_style": "bold",
    "box": None,
    "pad_edge": False,
}


def comparison_tables(document: dict[str, Any]) -> Group:
    tables: list[RenderableType] = [_step_table(document["steps"])]
    if document["recoveries"]:
        tables += ["", _recovery_table(document["recoveries"])]
    return Group(*tables)


def _step_table(steps: list[dict[str, Any]]) -> Table:
    table = Table(title="Steps (median)", **_STYLE)
    for name in ("from step", "steps", "ranks", "measured", "predicted", "error"):
        table.add_column(name, justify="right")
    for stretch in steps:
        table.add_row(
            str(stretch["first_step"]),
            f"{stretch['num_steps']:,}",
            f"{stretch['num_ranks']:,}",
            *_cells(stretch),
        )
    return table


def _recovery_table(recoveries: list[dict[str, Any]]) -> Table:
    table = Table(title="Recoveries", **_STYLE)
    table.add_column("recovery", overflow="fold")
    table.add_column("span")
    for name in ("measured", "predicted", "error"):
        table.add_column(name, justify="right")
    for recovery in recoveries:
        names = [
            f"{recovery['generation']}: {recovery['cause']}, {recovery['rung']}",
            f"after step {recovery['step']:,}",
            f"{recovery['num_ranks']:,} ranks go on",
            *([f"{recovery['bytes_moved']:,} bytes"] if recovery["bytes_moved"] else []),
        ]
        for i, span in enumerate(recovery["spans"]):
            name = names[i] if i < len(names) else ""
            style = "bold" if span["span"] == "total" else None
            label = span["span"].replace("_", "-")
            table.add_row(name, label, *_cells(span), style=style)
    return table


def _cells(row: dict[str, Any]) -> tuple[str, str, str]:
    measured, predicted = row["measured_s"], row["predicted_s"]
    error = f"{100 * (predicted / measured - 1):+.0f} %" if measured and predicted else "-"
    return _time(measured), _time(predicted), error


def _time(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    return f"{seconds:,.1f} s" if seconds >= 10 else f"{1e3 * seconds:,.1f} ms"
