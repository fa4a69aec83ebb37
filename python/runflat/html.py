"""Tables as HTML."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from runflat.figure_data import Document
from runflat.table import POLICY_COLUMNS, policy_cells
from runflat.vocabulary import policy_term


def swatch(colour: str, text: str) -> str:
    """Text behind a small square of the colour that stands for it in the figures."""
    return f'<span class="swatch" style="background:{escape(colour)}"></span>{escape(text)}'


def table(
    header: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    best: int | None = None,
    text: bool = False,
) -> str:
    """Cells are HTML already; `best` is the row to mark, `text` aligns all cells to the left."""
    lines = [f'<table class="{"text" if text else "numbers"}">', _row("th", header)]
    for index, row in enumerate(rows):
        lines.append(_row("td", row, "best" if index == best else ""))
    lines.append("</table>")
    return "\n".join(lines)


def policy_table_html(document: Document) -> str:
    """One row per policy, the one of the highest goodput marked."""
    best = max(document["policies"], key=lambda policy: policy["goodput"]["mean"])
    header = [escape(name) for name in ("policy", *POLICY_COLUMNS)]
    rows = [
        (
            swatch(policy_term(policy["policy"]).colour, policy_term(policy["policy"]).label),
            *(escape(cell) for cell in policy_cells(policy)),
        )
        for policy in document["policies"]
    ]
    return table(header, rows, best=document["policies"].index(best))


def _row(tag: str, cells: Sequence[str], kind: str = "") -> str:
    attribute = f' class="{kind}"' if kind else ""
    return f"<tr{attribute}>" + "".join(f"<{tag}>{cell}</{tag}>" for cell in cells) + "</tr>"
