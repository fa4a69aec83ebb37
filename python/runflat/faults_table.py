"""The tables that `runflat faults fit` prints."""

from __future__ import annotations

from typing import Any

from rich.console import Group
from rich.table import Table

_FACTS = (
    ("faults", "num_faults"),
    ("faults per 1000 node-days", "rate_per_1000_node_days"),
    ("variation of the gaps", "gap_variation"),
    ("Weibull shape of the gaps", "gap_weibull_shape"),
    ("weekly variance over mean", "weekly_fano"),
    ("negative binomial k, moments", "node_size_by_moments"),
    ("negative binomial k, likelihood", "node_size_by_likelihood"),
    ("repairs that refault in 7 days", "refault_share"),
)


def fit_tables(report: dict[str, Any]) -> Group:
    """What the trace looks like, the fitted numbers, and how well the laws fit."""
    return Group(_facts(report), "", _parameters(report), "", _laws(report))


def _facts(report: dict[str, Any]) -> Table:
    table = _new_table(f"Trace of {report['observed_days']:g} days")
    table.add_column("statistic")
    table.add_column("value", justify="right")
    for label, key in _FACTS:
        table.add_row(label, _number(report["statistics"][key]))
    sizes = enumerate(report["statistics"]["batches"], start=1)
    table.add_row("batches", ", ".join(f"{count} of {size}" for size, count in sizes if count))
    return table


def _parameters(report: dict[str, Any]) -> Table:
    table = _new_table("Fitted model")
    table.add_column("parameter")
    for name in ("value", "low 95 %", "high 95 %"):
        table.add_column(name, justify="right")
    for item in report["parameters"]:
        cells = (_number(item[key]) for key in ("value", "low", "high"))
        table.add_row(item["name"], *cells)
    return table


def _laws(report: dict[str, Any]) -> Table:
    table = _new_table("Fit of the laws")
    table.add_column("law")
    table.add_column("chosen")
    table.add_column("AIC over the next", justify="right")
    table.add_column("KS distance", justify="right")
    table.add_column("p", justify="right")
    laws = {f"{item['class']}: repair": item["laws"] for item in report["repairs"]}
    for item in report["quality"]:
        of_class = laws.get(item["name"], [])
        chosen = of_class[0]["kind"] if of_class else "weibull"
        lead = _number(of_class[1]["aic"] - of_class[0]["aic"]) if len(of_class) > 1 else ""
        distance, p = _number(item["kolmogorov_smirnov"]), _number(item["p_value"])
        table.add_row(item["name"], chosen, lead, distance, p)
    return table


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def _new_table(title: str) -> Table:
    return Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
