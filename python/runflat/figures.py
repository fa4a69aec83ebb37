"""The figures of a result, drawn with matplotlib."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from runflat import figure_data
from runflat.vocabulary import cause_term, policy_term

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from runflat.figure_data import Bars, Chart, Document

_SIZE_INCHES = (8.0, 4.5)
_DPI = 150


def draw_figures(document: Document) -> dict[str, Figure]:
    """By name: goodput_over_time, loss_vs_failed_fraction, loss_by_cause."""
    return {
        "goodput_over_time": _draw_lines(figure_data.goodput_over_time(document)),
        "loss_vs_failed_fraction": _draw_lines(figure_data.loss_against_failed_fraction(document)),
        "loss_by_cause": _draw_bars(figure_data.loss_by_cause(document)),
    }


def write_figures(document: Document, folder: Path) -> None:
    """One PNG per figure; the same document gives the same bytes."""
    for name, figure in draw_figures(document).items():
        save_figure(figure, folder / f"{name}.png")


def save_figure(figure: Figure, file: Path) -> None:
    figure.savefig(file, dpi=_DPI, metadata={"Software": None})


def _new_figure(title: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=_SIZE_INCHES, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set_title(title, loc="left", fontweight="bold")
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _draw_lines(chart: Chart) -> Figure:
    figure, axes = _new_figure(chart.title)
    for line in chart.lines:
        term = policy_term(line.policy)
        axes.plot(
            line.x,
            line.y,
            color=term.colour,
            label=line.label,
            linewidth=1.8,
            linestyle="--" if term.dashed else "-",
            zorder=3 if term.dashed else 2,
        )
    axes.set_xlabel(chart.x_label)
    axes.set_ylabel(chart.y_label)
    axes.grid(alpha=0.3)
    axes.margins(x=0.01)
    axes.set_ylim(chart.y_range)
    figure.legend(loc="outside right upper", frameon=False)
    return figure


def _draw_bars(bars: Bars) -> Figure:
    figure, axes = _new_figure(bars.title)
    labels = [policy_term(policy).label for policy in bars.policies]
    left = [0.0] * len(labels)
    for cause, share in bars.shares.items():
        term = cause_term(cause)
        axes.barh(
            labels,
            share,
            left=left,
            height=0.65,
            color=term.colour,
            edgecolor="white",
            linewidth=0.5,
            label=term.label,
        )
        left = [start + width for start, width in zip(left, share, strict=True)]
    for row, total in enumerate(left):
        place = (min(total, bars.x_limit), row)
        axes.annotate(
            bars.total_label(row),
            place,
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 2},
        )
    axes.invert_yaxis()
    axes.set_xlabel(bars.x_label)
    axes.grid(axis="x", alpha=0.3)
    axes.set_axisbelow(True)
    axes.set_xlim(0, 1.16 * bars.x_limit)
    figure.legend(loc="outside right upper", frameon=False)
    return figure
