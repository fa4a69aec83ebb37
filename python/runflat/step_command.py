"""`runflat step`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from runflat import options
from runflat._core import ParseError, Plan
from runflat.api import plan, step
from runflat.console import stdout_console
from runflat.outputs import write_text
from runflat.scenario_files import load_scenario
from runflat.step_table import step_summary


def step_command(
    job: Annotated[
        str,
        typer.Argument(
            metavar="SCENARIO|PLAN", help="A scenario's file or name, or a plan.json of `plan -o`."
        ),
    ],
    release: Annotated[
        str, typer.Option(help="Software release whose parameters price the step.")
    ] = "",
    overrides: options.Overrides = None,
    json_file: Annotated[
        str | None, typer.Option("--json", metavar="FILE", help="Write the numbers; - is stdout.")
    ] = None,
    timeline: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Write the simulated step for ui.perfetto.dev."),
    ] = None,
) -> None:
    """How long does a step take, where does the time go, and does it fit into memory?"""
    priced = step(*_plan_and_release(job, release, overrides or []))
    if json_file is not None:
        write_text(json_file, priced.text)
    if timeline is not None:
        write_text(timeline, priced.timeline)
    if json_file != "-" and timeline != "-":
        stdout_console().print(step_summary(json.loads(priced.text)))


def _plan_and_release(job: str, release: str, overrides: list[str]) -> tuple[Plan, str]:
    if Path(job).suffix != ".json":
        scenario = load_scenario(job, overrides)
        return plan(scenario, policy="restart"), release or scenario.software_release
    if overrides:
        raise ParseError("--set changes a scenario, and a plan is given")
    return Plan.from_json(Path(job).read_text()), release
