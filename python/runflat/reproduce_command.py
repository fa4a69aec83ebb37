"""`runflat reproduce`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Group
from rich.table import Table

from runflat.console import stdout_console
from runflat.progress import progress_on_stderr

if TYPE_CHECKING:
    from runflat.paper import Reproduction

reproduce_app = typer.Typer(no_args_is_help=True, help="Published results, computed again.")


@reproduce_app.callback()
def _options() -> None:
    """Keeps `ntp-paper` a word of its own, as typer folds a single command into its parent."""


@reproduce_app.command("ntp-paper")
def ntp_paper_command(
    trials: Annotated[int, typer.Option(min=2, max=100_000, help="Of failure processes.")] = 100,
    placements: Annotated[
        int, typer.Option(min=1, max=100_000, help="Of failed GPUs at random.")
    ] = 200,
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Same seed, same result.")] = 1,
    out: Annotated[Path | None, typer.Option(help="Folder for the table and the figures.")] = None,
) -> None:
    """Nonuniform tensor parallelism, arXiv 2504.06095: the paper's numbers beside ours."""
    from runflat.paper import reproduce

    with progress_on_stderr("reproducing") as progress:
        found = reproduce(trials=trials, placements=placements, seed=seed, progress=progress)
    if out is not None:
        found.write(out)
    console = stdout_console()
    console.print(_table(found))
    if out is not None:
        console.print(f"\nfigures: {out}", soft_wrap=True)


def _table(found: Reproduction) -> Group:
    table = Table(
        title="Nonuniform tensor parallelism (arXiv 2504.06095)",
        title_justify="left",
        title_style="bold",
        box=None,
        pad_edge=False,
        leading=1,
    )
    for name, ratio in (("", None), ("result", 3), ("paper", 2), ("ours", 3), ("verdict", 2)):
        table.add_column(name, ratio=ratio, no_wrap=name == "")
    notes = []
    for row in found.rows:
        table.add_row(row.id, row.result, row.paper, row.ours, str(row.verdict))
        notes.append(f"{row.id}: {row.setting}." + (f" Note: {row.why}." if row.why else ""))
    return Group(table, "", *notes)
