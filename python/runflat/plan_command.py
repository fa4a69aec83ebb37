"""`runflat plan`."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from runflat import options
from runflat._core import ParseError
from runflat.api import plan
from runflat.console import stdout_console
from runflat.outputs import write_text
from runflat.plan_table import plan_summary
from runflat.scenario_files import load_scenario

_MOST_GPUS = 1 << 24


def plan_command(
    scenario: options.Scenario,
    failed: Annotated[
        str, typer.Option(metavar="GPU,GPU...", help="GPUs that are down; 8-15 is a range.")
    ] = "",
    policy: Annotated[str, typer.Option(help="Recovery policy that decides.")] = "ntp",
    overrides: options.Overrides = None,
    output: Annotated[
        str | None, typer.Option("-o", metavar="FILE", help="Write the plan; - is stdout.")
    ] = None,
    megatron: Annotated[
        bool,
        typer.Option("--megatron", help="Write the settings of Megatron's NTP branch instead."),
    ] = False,
) -> None:
    """Who runs where with these GPUs down, and why?"""
    made = plan(load_scenario(scenario, overrides or []), failed=gpu_list(failed), policy=policy)
    text, notes = made.to_megatron() if megatron else (made.to_json(), [])
    target = output or ("-" if megatron else None)
    if target is not None:
        write_text(target, text)
    for note in notes:
        print(f"note: {note}", file=sys.stderr)
    if target != "-":
        stdout_console().print(plan_summary(made))


def gpu_list(text: str) -> list[int]:
    """`0,8-15` as numbers."""
    gpus: list[int] = []
    for part in text.split(",") if text else []:
        first, _, last = part.strip().partition("-")
        if not (first.isdecimal() and (last or first).isdecimal()):
            raise ParseError(f"--failed: expected GPU numbers, as in 0,8-15, found '{part}'")
        gpus.extend(range(int(first), min(int(last or first), int(first) + _MOST_GPUS) + 1))
    return gpus
