"""Progress on stderr: a bar on a terminal, a line at every quarter elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

Report = Callable[[int, int], None]


@contextmanager
def progress_on_stderr(title: str) -> Iterator[Report]:
    """Gives a function to call with (done, total); it may be called from any thread."""
    if not sys.stderr.isatty():
        yield _QuarterLines(title)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


class _QuarterLines:
    def __init__(self, title: str) -> None:
        self._title = title
        self._quarters = 0

    def __call__(self, done: int, total: int) -> None:
        quarters = 4 * done // max(total, 1)
        if quarters > self._quarters:
            self._quarters = quarters
            print(f"{self._title}: {done}/{total}", file=sys.stderr, flush=True)
