"""`runflat sweep`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from runflat._core import ParseError
from runflat.api import MAX_TRIALS
from runflat.campaign import sweep
from runflat.console import stdout_console
from runflat.progress import progress_on_stderr
from runflat.scenario_files import load_scenario


def sweep_command(
    scenario: Annotated[str, typer.Argument(help="A TOML file or the name of a shipped scenario.")],
    vary: Annotated[
        list[str],
        typer.Option(
            metavar="KEY=VALUES", help="An axis: a.b=8,16,32 or a.b=1:10:log:5 (from, to, steps)."
        ),
    ],
    policies: Annotated[
        str, typer.Option(help="Recovery policies to compare, as a,b; default: all.")
    ] = "",
    trials: Annotated[
        int, typer.Option(min=1, max=100_000, help="Simulated runs per point and policy.")
    ] = 100,
    until_ci: Annotated[
        float | None,
        typer.Option(
            metavar="HALF_WIDTH",
            help="More trials until every 95 % interval of goodput, as 0.001, is this narrow.",
        ),
    ] = None,
    max_trials: Annotated[
        int, typer.Option(min=1, max=1_000_000, help="Where --until-ci gives up.")
    ] = MAX_TRIALS,
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Same seed, same result.")] = 1,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change one value of the scenario."),
    ] = None,
    threads: Annotated[int, typer.Option(min=0, max=1024, help="0: all cores.")] = 0,
    out: Annotated[
        Path | None, typer.Option(help="Folder for sweep.csv, sweep.parquet and figures.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Keep the points that are finished in --out.")
    ] = False,
) -> None:
    """The what-if at every combination of values of a scenario's keys."""
    if resume and out is None:
        raise ParseError("--resume: needs the --out of the sweep to continue")
    with progress_on_stderr("sweeping") as progress:
        found = sweep(
            load_scenario(scenario, overrides or []),
            vary,
            policies=[name.strip() for name in policies.split(",")] if policies else [],
            trials=trials,
            until_ci=until_ci,
            max_trials=max_trials,
            seed=seed,
            threads=threads,
            folder=out,
            resume=resume,
            progress=progress,
        )
    console = stdout_console()
    console.print(found.tables(), soft_wrap=True)
    if out is not None:
        has_parquet = found.write(out)
        console.print(f"\ntable: {out / 'sweep.csv'}", soft_wrap=True)
        if not has_parquet:
            print("note: no sweep.parquet without pyarrow: pip install pyarrow", file=sys.stderr)
