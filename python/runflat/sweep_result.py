"""What a sweep found."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Group

from runflat._core import Scenario
from runflat.console import stdout_console
from runflat.grid import Axis
from runflat.sweep_point import Point
from runflat.sweep_table import columns_of, parquet_bytes, sweep_table

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Sweep:
    """The answer to `sweep`. `columns` is its table, tidy: a row per point and policy, in the order
    of the grid, whatever the order in which points were finished; None where there is nothing."""

    def __init__(
        self,
        scenario: Scenario,
        axes: Sequence[Axis],
        options: dict[str, Any],
        points: Sequence[Point],
    ) -> None:
        self.scenario = scenario
        self.axes = tuple(axes)
        self.options = options
        self.points = list(points)
        self.columns: dict[str, list[Any]] = columns_of(self.axes, self.points)

    def frame(self) -> dict[str, np.ndarray]:
        """The columns as arrays, ready for `pandas.DataFrame`."""
        return {name: np.array(column) for name, column in self.columns.items()}

    def to_csv(self) -> str:
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(self.columns)
        writer.writerows(zip(*self.columns.values(), strict=True))
        return text.getvalue()

    def tables(self) -> Group:
        """What the command prints."""
        return sweep_table(self.scenario.name, self.axes, self.points)

    def __str__(self) -> str:
        console = stdout_console()
        with console.capture() as capture:
            console.print(self.tables())
        return capture.get()

    def figures(self) -> dict[str, Figure]:
        """Goodput over the numeric axis with the most values, a panel for each of the others."""
        from runflat.sweep_figures import draw_sweep

        return draw_sweep(self.axes, self.points)

    def write(self, folder: str | Path) -> bool:
        """Writes sweep.json, sweep.csv, figures, and sweep.parquet where pyarrow is installed:
        whether it is."""
        from runflat.figures import save_figure
        from runflat.outputs import new_folder_contents

        request = {
            "schema": 1,
            "scenario": json.loads(self.scenario.to_json()),
            "axes": {axis.key: axis.values for axis in self.axes},
            "options": self.options,
        }
        table = parquet_bytes(self.columns)
        with new_folder_contents(Path(folder)) as fresh:
            (fresh / "sweep.json").write_text(json.dumps(request, indent=2) + "\n")
            (fresh / "sweep.csv").write_text(self.to_csv())
            if table is not None:
                (fresh / "sweep.parquet").write_bytes(table)
            for name, figure in self.figures().items():
                save_figure(figure, fresh / f"{name}.png")
        return table is not None
