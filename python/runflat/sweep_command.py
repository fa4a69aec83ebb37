"""`runflat sweep`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from runflat import options
from runflat._core import ParseError
from runflat.api import MAX_TRIALS
from runflat.campaign import sweep
from runflat.console import stdout_console
from runflat.progress import progress_on_stderr
from runflat.scenario_files import load_scenario


def sweep_command(
    scenario: options.Scenario,
    vary: Annotated[
        list[str],
        typer.Option(
            metavar="KEY=VALUES", help="An axis: a.b=8,16,32 or a.b=1:10:log:5 (from, to, steps)."
        ),
    ],
    policies: options.Policies = "",
    trials: options.Trials = 100,
    until_ci: options.UntilCi = None,
    max_trials: options.MaxTrials = MAX_TRIALS,
    seed: options.Seed = 1,
    overrides: options.Overrides = None,
    threads: options.Threads = 0,
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
            policies=options.names(policies),
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
