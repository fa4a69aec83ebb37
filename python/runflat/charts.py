"""The figures of a result as interactive charts for the report."""

from __future__ import annotations

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from runflat.figure_data import Bars, Chart
from runflat.vocabulary import cause_term, policy_term

_LAYOUT = {
    "template": "plotly_white",
    "height": 420,
    "margin": {"l": 70, "r": 20, "t": 20, "b": 60},
    "font": {"family": "system-ui, sans-serif", "size": 14, "color": "#1a1a1a"},
    "hoverlabel": {"namelength": -1},
}


def script() -> str:
    """The plotly library, for a page that must work without a network."""
    return str(get_plotlyjs())


def lines_html(chart: Chart, name: str) -> str:
    figure = go.Figure(layout=_LAYOUT)
    for rank, line in sorted(
        enumerate(chart.lines), key=lambda item: policy_term(item[1].policy).dashed
    ):
        term = policy_term(line.policy)
        figure.add_scatter(
            x=line.x,
            y=line.y,
            name=line.label,
            mode="lines",
            legendrank=rank,
            line={"color": term.colour, "width": 2, "dash": "dash" if term.dashed else "solid"},
            hovertemplate="%{y:.2f} %",
        )
    figure.update_layout(
        xaxis_title=chart.x_label,
        yaxis={"title": chart.y_label, "range": chart.y_range},
        hovermode="x unified",
    )
    return _fragment(figure, name)


def bars_html(bars: Bars, name: str) -> str:
    figure = go.Figure(layout=_LAYOUT)
    labels = [policy_term(policy).label for policy in bars.policies]
    for cause, share in bars.shares.items():
        term = cause_term(cause)
        figure.add_bar(
            y=labels,
            x=share,
            name=term.label,
            orientation="h",
            marker_color=term.colour,
            hovertemplate="%{x:.2f} %",
        )
    for row, label in enumerate(labels):
        figure.add_annotation(
            x=min(bars.total(row), bars.x_limit),
            y=label,
            text=bars.total_label(row),
            showarrow=False,
            xanchor="left",
            bgcolor="white",
        )
    figure.update_layout(
        barmode="stack",
        bargap=0.3,
        xaxis={"title": bars.x_label, "range": (0, 1.16 * bars.x_limit)},
        yaxis_autorange="reversed",
        legend_traceorder="normal",
    )
    return _fragment(figure, name)


def _fragment(figure: go.Figure, name: str) -> str:
    html = figure.to_html(
        full_html=False,
        include_plotlyjs=False,
        div_id=name,
        config={"displayModeBar": False, "responsive": True},
    )
    return str(html)
