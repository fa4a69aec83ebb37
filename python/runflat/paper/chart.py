"""Figures of the paper as data, and how they are drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

_SIZE_INCHES = (8.2, 4.6)


@dataclass(frozen=True, slots=True)
class Curve:
    label: str
    colour: str
    x: Sequence[float]
    y: Sequence[float]
    style: str = "-"


@dataclass(frozen=True, slots=True)
class Mark:
    """What the paper says: a point, with an arrow down where it is a bound."""

    label: str
    colour: str
    x: float
    y: float
    is_bound: bool = False


@dataclass(frozen=True, slots=True)
class PaperChart:
    title: str
    x_label: str
    y_label: str
    curves: Sequence[Curve]
    marks: Sequence[Mark] = ()
    y_range: tuple[float, float] | None = None
    x_ticks: Sequence[float] = ()


def draw(chart: PaperChart) -> Figure:
    """Curves are ours, marks are the paper's."""
    figure = Figure(figsize=_SIZE_INCHES, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set_title(chart.title, loc="left", fontweight="bold")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.3)
    for curve in chart.curves:
        axes.plot(
            curve.x,
            curve.y,
            curve.style,
            color=curve.colour,
            label=curve.label,
            linewidth=1.8,
            markersize=4,
        )
    for mark in chart.marks:
        axes.plot(
            mark.x,
            mark.y,
            "v" if mark.is_bound else "D",
            color=mark.colour,
            markerfacecolor="white",
            markersize=7,
            linestyle="none",
            label=mark.label,
            clip_on=False,
            zorder=4,
        )
    axes.set_xlabel(chart.x_label)
    axes.set_ylabel(chart.y_label)
    axes.margins(x=0.02)
    if chart.y_range is not None:
        axes.set_ylim(chart.y_range)
    if chart.x_ticks:
        axes.set_xticks(chart.x_ticks)
    figure.legend(loc="outside right upper", frameon=False)
    return figure
