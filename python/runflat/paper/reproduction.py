"""All rows and figures, in the order of the table of results."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from runflat.paper.availability import availability_chart, process_rows, random_failure_rows
from runflat.paper.layouts import layout_rows
from runflat.paper.losses import blast_radius, fixed_batch, flexible_batch
from runflat.paper.power import power_rows
from runflat.paper.reshard import reshard_row
from runflat.paper.rows import Effort, Row

if TYPE_CHECKING:
    from runflat.paper.chart import PaperChart


@dataclass(frozen=True, slots=True)
class Reproduction:
    """The rows of the published table that can be checked, and the figures by name."""

    rows: list[Row]
    charts: dict[str, PaperChart]

    def row(self, name: str) -> Row:
        return next(row for row in self.rows if row.id == name)

    def write(self, folder: Path) -> None:
        """Writes reproduction.json, reproduction.csv and a PNG per figure: all or none."""
        from runflat.figures import save_figure
        from runflat.outputs import new_folder_contents
        from runflat.paper.chart import draw

        rows = [asdict(row) | {"verdict": str(row.verdict)} for row in self.rows]
        table = io.StringIO()
        names = [name for name in rows[0] if name != "values"]
        writer = csv.DictWriter(table, names, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        with new_folder_contents(folder) as fresh:
            document = {"schema": 1, "paper": "arXiv 2504.06095", "rows": rows}
            (fresh / "reproduction.json").write_text(json.dumps(document, indent=2) + "\n")
            (fresh / "reproduction.csv").write_text(table.getvalue())
            for name, chart in self.charts.items():
                save_figure(draw(chart), fresh / f"{name}.png")


def reproduce(
    *,
    trials: int = 100,
    placements: int = 200,
    seed: int = 1,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Reproduction:
    """Computes every row of the nonuniform-TP paper that can be checked with the simulator."""
    effort = Effort(trials, placements, seed)
    rows: list[Row] = []
    charts: dict[str, PaperChart] = {"availability_vs_failures": availability_chart()}

    def from_chart(name: str, made: tuple[Row, PaperChart]) -> list[Row]:
        charts[name] = made[1]
        return [made[0]]

    def from_radius() -> list[Row]:
        found, charts["loss_vs_blast_radius"] = blast_radius(effort)
        return found

    parts: list[Callable[[], list[Row]]] = [
        lambda: random_failure_rows(effort),
        layout_rows,
        lambda: process_rows(effort),
        lambda: from_chart("loss_vs_failed_fraction", flexible_batch(effort)),
        lambda: from_chart("throughput_vs_spares", fixed_batch(effort)),
        from_radius,
        power_rows,
        lambda: from_chart("reshard_overhead", reshard_row()),
    ]
    for num_done, part in enumerate(parts, start=1):
        rows += part()
        progress(num_done, len(parts))
    rows.sort(key=lambda row: int(row.id.strip("Rab")))
    return Reproduction(rows, charts)
