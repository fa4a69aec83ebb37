"""A sweep as a tidy table, units in the names of columns, and as people read it."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from runflat.formats import percent

if TYPE_CHECKING:
    from runflat.figure_data import Document
    from runflat.grid import Axis
    from runflat.sweep_point import Point

_MOST_POLICIES = 5
_MOST_ROWS = 60
_MOST_REASONS = 5


def columns_of(axes: Sequence[Axis], points: Sequence[Point]) -> dict[str, list[Any]]:
    """A row per point and policy; a point that cannot run has one, with the reason."""
    rows = [row for point in points for row in _rows(point)]
    keys = [axis.key for axis in axes]
    names = dict.fromkeys([*keys, "status", "reason", *(name for row in rows for name in row)])
    return {name: [row.get(name) for row in rows] for name in names}


def _rows(point: Point) -> list[dict[str, Any]]:
    if point.document is None:
        return [{**point.values, "status": "infeasible", "reason": point.reason}]
    place = {**point.values, "status": "ok", "reason": None}
    return [{**place, **cells} for cells in policy_cells(point.document)]


def policy_cells(document: Document) -> list[dict[str, Any]]:
    """The numbers of every policy of a result; gains are over the first policy, trial by trial."""
    baseline = document["policies"][0]["policy"]
    gains = {item["policy"]: item for item in document["differences"] if item["minus"] == baseline}
    return [_cells(document, policy, baseline, gains) for policy in document["policies"]]


def _cells(
    document: Document, policy: dict[str, Any], baseline: str, gains: dict[str, dict[str, Any]]
) -> dict[str, Any]:
    goodput, gain = policy["goodput"], gains.get(policy["policy"])
    lost = policy["lost_gpu_hours"]
    return {
        "policy": policy["policy"],
        "trials": document["trials"],
        "seed": document["seed"],
        "num_gpus": document["num_gpus"],
        "domain_size_gpus": document["domain_size"],
        "duration_days": document["duration_days"],
        "faults_per_trial": document["faults_per_trial"],
        "step_time_s": policy["step_time_s"],
        "checkpoint_interval_s": policy["checkpoint_interval_s"],
        "goodput_fraction": goodput["mean"],
        "goodput_fraction_ci95_half_width": policy["goodput_ci95_half_width"],
        "goodput_fraction_p5": goodput["p5"],
        "goodput_fraction_p50": goodput["p50"],
        "goodput_fraction_p95": goodput["p95"],
        "baseline_policy": baseline,
        "goodput_fraction_gain": gain["goodput"] if gain else 0.0,
        "goodput_fraction_gain_ci95_half_width": gain["goodput_ci95_half_width"] if gain else 0.0,
        "availability_fraction": policy["availability"]["mean"],
        "total_gpu_hours": policy["gpu_hours"]["total"],
        "useful_gpu_hours": policy["gpu_hours"]["useful"],
        "lost_gpu_hours": sum(lost.values()),
        **{f"lost_{cause}_gpu_hours": hours for cause, hours in lost.items()},
        "interruptions_per_trial": policy["interruptions"],
        "rejoins_per_trial": policy["rejoins"],
        "spare_domains": policy["spare_domains"],
        "spares_for_99pct_domains": policy["spares_for_99pct"],
        "peak_spares_p50_domains": policy["peak_spares"]["p50"],
        "total_usd": policy["cost"]["usd_total"],
        "lost_usd": policy["cost"]["usd_lost"],
    }


def parquet_bytes(columns: dict[str, list[Any]]) -> bytes | None:
    """The table as Parquet; None where pyarrow is not installed."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        return None
    buffer = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table(columns), buffer)
    return buffer.getvalue()


def sweep_table(title: str, axes: Sequence[Axis], points: Sequence[Point]) -> Group:
    """Goodput, a row per point and a column per policy, a few policies a table; then why points
    could not run."""
    first = next((point.document for point in points if point.document), None)
    policies = [policy["policy"] for policy in first["policies"]] if first else []
    parts: list[RenderableType] = [Text(f"{title}: goodput at {len(points)} points", "bold")]
    for start in range(0, len(policies), _MOST_POLICIES):
        if start > 0:
            parts.append("")
        parts.append(_goodput_table(axes, points, policies[start : start + _MOST_POLICIES]))
    if len(points) > _MOST_ROWS:
        parts.append(f"and {len(points) - _MOST_ROWS} points more")
    reasons = list(dict.fromkeys(point.reason for point in points if point.reason))
    parts += [f"infeasible: {reason}" for reason in reasons[:_MOST_REASONS]]
    if len(reasons) > _MOST_REASONS:
        parts.append(f"and {len(reasons) - _MOST_REASONS} reasons more")
    return Group(*parts)


def _goodput_table(axes: Sequence[Axis], points: Sequence[Point], policies: Sequence[str]) -> Table:
    table = Table(box=None, pad_edge=False)
    for axis in axes:
        table.add_column(_short(axis.key, axes), justify="right")
    for policy in policies:
        table.add_column(policy, justify="right", no_wrap=True)
    for point in points[:_MOST_ROWS]:
        found = {}
        if point.document:
            found = {policy["policy"]: policy for policy in point.document["policies"]}
        cells = [
            percent(found[policy]["goodput"]["mean"]) if policy in found else "-"
            for policy in policies
        ]
        table.add_row(*map(str, point.values.values()), *cells)
    return table


def _short(key: str, axes: Sequence[Axis]) -> str:
    """The last part of a key, unless two axes share it."""
    last = key.rpartition(".")[2]
    return last if sum(axis.key.rpartition(".")[2] == last for axis in axes) == 1 else key
