"""What a what-if found."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Group

from runflat._core import Scenario
from runflat.console import stdout_console
from runflat.figure_data import Document
from runflat.html import policy_table_html
from runflat.table import cause_table, policy_table

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, slots=True)
class PolicyRow:
    """One recovery policy; shares are of 1, means over the trials."""

    policy: str
    goodput: float
    goodput_p5: float
    goodput_p95: float
    availability: float
    lost_gpu_hours: float
    spares_for_99pct: int
    step_time_s: float
    usd_lost: float


class Result:
    """The answer to `what_if`. `text` is result.json, byte for byte the same for the same scenario
    and seed; `document` is the same as Python values."""

    def __init__(self, scenario: Scenario, text: str) -> None:
        self.scenario = scenario
        self.text = text
        self.document: Document = json.loads(text)

    def rows(self) -> list[PolicyRow]:
        return [
            PolicyRow(
                policy=policy["policy"],
                goodput=policy["goodput"]["mean"],
                goodput_p5=policy["goodput"]["p5"],
                goodput_p95=policy["goodput"]["p95"],
                availability=policy["availability"]["mean"],
                lost_gpu_hours=sum(policy["lost_gpu_hours"].values()),
                spares_for_99pct=policy["spares_for_99pct"],
                step_time_s=policy["step_time_s"],
                usd_lost=policy["cost"]["usd_lost"],
            )
            for policy in self.document["policies"]
        ]

    def frame(self) -> dict[str, np.ndarray]:
        """The rows as columns, ready for `pandas.DataFrame`."""
        rows = self.rows()
        return {
            field.name: np.array([getattr(row, field.name) for row in rows])
            for field in fields(PolicyRow)
        }

    def tables(self) -> Group:
        """What the command prints."""
        return Group(policy_table(self.document), "", cause_table(self.document))

    def __str__(self) -> str:
        console = stdout_console()
        with console.capture() as capture:
            console.print(self.tables())
        return capture.get()

    def _repr_html_(self) -> str:
        return policy_table_html(self.document)

    def figures(self) -> dict[str, Figure]:
        """The figures that `write` saves, by name, for a notebook."""
        from runflat.figures import draw_figures

        return draw_figures(self.document)

    def write(self, folder: str | Path, command: str = "runflat.what_if") -> None:
        """Writes result.json, three PNG figures and report.html: all of them or none."""
        # Drawing takes a second to import, which a table need not wait for.
        from runflat.figures import write_figures
        from runflat.outputs import new_folder_contents
        from runflat.report import report_html

        with new_folder_contents(Path(folder)) as fresh:
            (fresh / "result.json").write_text(self.text)
            write_figures(self.document, fresh)
            report = report_html(self.document, json.loads(self.scenario.to_json()), command)
            (fresh / "report.html").write_text(report)
