"""`runflat whatif`."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from runflat.api import MAX_TRIALS, what_if
from runflat.console import stdout_console
from runflat.outputs import write_text
from runflat.progress import progress_on_stderr
from runflat.scenario_files import load_scenario


def whatif_command(
    scenario: Annotated[str, typer.Argument(help="A TOML file or the name of a shipped scenario.")],
    policies: Annotated[
        str, typer.Option(help="Recovery policies to compare, as a,b; default: all.")
    ] = "",
    trials: Annotated[
        int, typer.Option(min=1, max=100_000, help="Simulated runs per policy.")
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
    trace: Annotated[
        Path | None, typer.Option(help="Replay the dated faults of this CSV file.")
    ] = None,
    threads: Annotated[int, typer.Option(min=0, max=1024, help="0: all cores.")] = 0,
    out: Annotated[
        Path | None, typer.Option(help="Folder for result.json, figures and report.html.")
    ] = None,
    json_file: Annotated[
        str | None, typer.Option("--json", metavar="FILE", help="Write result.json; - is stdout.")
    ] = None,
) -> None:
    """What does the job lose under each recovery policy, and how many spares does it need?"""
    loaded = load_scenario(scenario, overrides or [])
    names = [name.strip() for name in policies.split(",")] if policies else []
    with progress_on_stderr("simulating") as progress:
        result = what_if(
            loaded,
            policies=names,
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
