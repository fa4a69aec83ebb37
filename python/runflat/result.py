"""What a what-if found."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Group, RenderableType

from runflat._core import PolicyResult, Scenario, WhatIfResult
from runflat.console import stdout_console
from runflat.figure_data import Document
from runflat.html import policy_table_html
from runflat.table import cause_table, difference_table, policy_table, stopping_note

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Result:
    """The answer to `what_if`. `text` is result.json, byte for byte the same for the same scenario
    and seed; `document` is the same as Python values, `rows` holds a PolicyResult per policy."""

    def __init__(self, scenario: Scenario, outcome: WhatIfResult) -> None:
        self.scenario = scenario
        self.rows: list[PolicyResult] = outcome.policies
        self.text = outcome.to_json()
        self.document: Document = json.loads(self.text)

    def frame(self) -> dict[str, np.ndarray]:
        """A column per number of the rows, ready for `pandas.DataFrame`; shares are of 1."""
        columns: dict[str, list[object]] = {
            "policy": [row.policy for row in self.rows],
            "goodput": [row.goodput.mean for row in self.rows],
            "goodput_p5": [row.goodput.p5 for row in self.rows],
            "goodput_p95": [row.goodput.p95 for row in self.rows],
            "availability": [row.availability.mean for row in self.rows],
        }
        for name in ("lost_gpu_hours", "owned_gpu_hours", "spare_domains", "spares_for_99pct"):
            columns[name] = [getattr(row, name) for row in self.rows]
        return {name: np.array(column) for name, column in columns.items()}

    def tables(self) -> Group:
        """What the command prints."""
        tables: list[RenderableType] = [
            policy_table(self.document),
            "",
            cause_table(self.document),
        ]
        if self.document["stopping"] is not None:
            tables += ["", difference_table(self.document), "", stopping_note(self.document)]
        return Group(*tables)

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
