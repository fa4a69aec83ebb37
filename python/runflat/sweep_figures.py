"""The figures of a sweep."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from runflat.vocabulary import policy_term

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from runflat.grid import Axis, Scalar
    from runflat.sweep_point import Point

_PANELS_PER_FIGURE = 6
_COLUMNS = 3
_PANEL_INCHES = (4.2, 3.4)
_LEGEND_INCHES = 1.8


def draw_sweep(axes: Sequence[Axis], points: Sequence[Point]) -> dict[str, Figure]:
    """By name: `goodput`, or `goodput_1` and so on where one figure has no room for all panels."""
    along = _longest_axis(axes)
    others = [axis for axis in axes if axis is not along]
    panels = list(itertools.product(*(axis.values for axis in others)))
    pages = [
        panels[start : start + _PANELS_PER_FIGURE]
        for start in range(0, len(panels), _PANELS_PER_FIGURE)
    ]
    limits = _goodput_limits(points)
    figures = {}
    for page, shown in enumerate(pages, start=1):
        name = "goodput" if len(pages) == 1 else f"goodput_{page}"
        figures[name] = _draw_page(along, others, shown, points, limits)
    return figures


def _longest_axis(axes: Sequence[Axis]) -> Axis:
    """What goes along the abscissa: numbers if there are any, the more the better."""
    return max(axes, key=lambda axis: (axis.is_numeric, len(axis.texts)))


def _goodput_limits(points: Sequence[Point]) -> tuple[float, float]:
    lowest = min(
        (100 * policy["goodput"]["mean"] for point in points for policy in _policies(point)),
        default=0.0,
    )
    return max(0.0, 100 - 1.1 * (100 - lowest)), 100.0


def _policies(point: Point) -> list[dict[str, Any]]:
    return point.document["policies"] if point.document else []


def _draw_page(
    along: Axis,
    others: Sequence[Axis],
    panels: Sequence[tuple[Any, ...]],
    points: Sequence[Point],
    limits: tuple[float, float],
) -> Figure:
    columns = min(_COLUMNS, len(panels))
    rows = math.ceil(len(panels) / columns)
    width, height = _PANEL_INCHES
    if len(panels) == 1:
        width, height = 6.2, 4.5
    figure = Figure(figsize=(columns * width + _LEGEND_INCHES, rows * height), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(rows, columns, sharey=True, squeeze=False)
    for place, panel in zip(grid.flat, panels, strict=False):
        chosen = [
            point
            for point in points
            if all(
                point.values[axis.key] == value for axis, value in zip(others, panel, strict=True)
            )
        ]
        title = ", ".join(
            f"{axis.key.rpartition('.')[2]} {value}"
            for axis, value in zip(others, panel, strict=True)
        )
        _draw_panel(place, along, chosen, title or "Goodput")
        place.set_ylim(limits)
    for place in grid.flat[len(panels) :]:
        place.set_visible(False)
    for row in grid:
        row[0].set_ylabel("goodput (%)")
    entries = {
        label: handle
        for place in grid.flat
        for handle, label in zip(*place.get_legend_handles_labels(), strict=True)
    }
    figure.legend(
        reversed(entries.values()),
        reversed(entries.keys()),
        loc="outside right upper",
        frameon=False,
    )
    return figure


def _draw_panel(place: Axes, along: Axis, points: Sequence[Point], title: str) -> None:
    place.set_title(title, loc="left", fontweight="bold", fontsize="medium")
    place.spines[["top", "right"]].set_visible(False)
    place.grid(alpha=0.3)
    place.set_xlabel(along.key)
    ticks = [
        float(value) if along.is_numeric else float(place)
        for place, value in enumerate(along.values)
    ]
    at: dict[Scalar, float] = dict(zip(along.values, ticks, strict=True))
    if _is_log(along):
        place.set_xscale("log")
    if len(ticks) <= 8:
        names = [f"{value:.3g}" if along.is_numeric else str(value) for value in at]
        place.set_xticks(ticks, names)
        place.minorticks_off()
    policies = dict.fromkeys(policy["policy"] for point in points for policy in _policies(point))
    for rank, policy in enumerate(reversed(policies)):
        # Curves that coincide stay visible: those below are wider.
        found = [(at[point.values[along.key]], point) for point in points]
        width = 1.4 + 2.4 * rank / max(1, len(policies) - 1)
        _draw_policy(place, policy, found, width, order=-rank)
    missing = [at[point.values[along.key]] for point in points if point.document is None]
    if missing:
        place.plot(
            missing,
            [0.02] * len(missing),
            "x",
            color="#555555",
            transform=place.get_xaxis_transform(),
            label="infeasible",
        )


def _draw_policy(
    place: Axes, name: str, points: Sequence[tuple[float, Point]], width: float, order: float
) -> None:
    """The mean with its 95 % interval as a band; a gap where a point could not run."""
    x, mean, low, high = [], [], [], []
    for tick, point in points:
        found = next((p for p in _policies(point) if p["policy"] == name), None)
        share = 100 * found["goodput"]["mean"] if found else math.nan
        around = 100 * (found["goodput_ci95_half_width"] or 0.0) if found else math.nan
        x.append(tick)
        mean.append(share)
        low.append(share - around)
        high.append(share + around)
    term = policy_term(name)
    place.plot(
        x,
        mean,
        color=term.colour,
        label=term.label,
        marker="o",
        markersize=width + 2,
        linewidth=width,
        linestyle="--" if term.dashed else "-",
        zorder=3 + 0.01 * order,
    )
    place.fill_between(x, low, high, color=term.colour, alpha=0.2, linewidth=0)


def _is_log(axis: Axis) -> bool:
    """Asked for, or numbers that double or more from each to the next."""
    if axis.is_log:
        return True
    values = [float(value) for value in axis.values] if axis.is_numeric else []
    return (
        len(values) >= 3
        and min(values) > 0
        and all(b >= 1.9 * a for a, b in itertools.pairwise(values))
    )
