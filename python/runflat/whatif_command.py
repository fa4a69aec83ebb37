"""`runflat whatif`."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from runflat import options
from runflat.api import MAX_TRIALS, what_if
from runflat.console import stdout_console
from runflat.outputs import write_text
from runflat.progress import progress_on_stderr
from runflat.scenario_files import load_scenario


def whatif_command(
    scenario: options.Scenario,
    policies: options.Policies = "",
    trials: options.Trials = 100,
    until_ci: options.UntilCi = None,
    max_trials: options.MaxTrials = MAX_TRIALS,
    seed: options.Seed = 1,
    overrides: options.Overrides = None,
    trace: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Replay dated faults: a CSV trace, or the TOML of `runflat train --inject`.",
        ),
    ] = None,
    threads: options.Threads = 0,
    out: Annotated[
        Path | None, typer.Option(help="Folder for result.json, figures and report.html.")
    ] = None,
    json_file: Annotated[
        str | None, typer.Option("--json", metavar="FILE", help="Write result.json; - is stdout.")
    ] = None,
) -> None:
    """What does the job lose under each recovery policy, and how many spares does it need?"""
    loaded = load_scenario(scenario, overrides or [])
    with progress_on_stderr("simulating") as progress:
        result = what_if(
            loaded,
            policies=options.names(policies),
            trials=trials,
            until_ci=until_ci,
            max_trials=max_trials,
            seed=seed,
            threads=threads,
            trace=trace,
            progress=progress,
        )
    if out is not None:
        result.write(out, command=shlex.join(["runflat", *sys.argv[1:]]))
    if json_file is not None:
        write_text(json_file, result.text)
    if json_file != "-":
        console = stdout_console()
        console.print(result.tables())
        if out is not None:
            console.print(f"\nreport: {out / 'report.html'}", soft_wrap=True)
