"""Options that several commands share, so that they are spelled and bounded alike."""

from __future__ import annotations

from typing import Annotated

import typer

Scenario = Annotated[str, typer.Argument(help="A TOML file or the name of a shipped scenario.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE|FILE",
        help="Change one value of the file, or those of a TOML file.",
    ),
]
Faults = Annotated[
    list[str] | None,
    typer.Option(
        "--inject",
        metavar="FILE|FAULT",
        help="Faults on demand: a TOML file, or 'kill rank=3 step=20'. Repeats.",
    ),
]
RanksPerGpu = Annotated[
    int,
    typer.Option(
        min=1,
        max=64,
        help="Ranks that share a GPU, as if each were on a host of its own: to try out layouts.",
    ),
]
Policies = Annotated[str, typer.Option(help="Recovery policies to compare, as a,b; default: all.")]
Trials = Annotated[
    int, typer.Option(min=1, max=100_000, help="Simulated runs per policy and point.")
]
UntilCi = Annotated[
    float | None,
    typer.Option(
        metavar="HALF_WIDTH",
        help="More trials until every 95 % interval of goodput, as 0.001, is this narrow.",
    ),
]
MaxTrials = Annotated[int, typer.Option(min=1, max=1_000_000, help="Where --until-ci gives up.")]
Seed = Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Same seed, same result.")]
Threads = Annotated[int, typer.Option(min=0, max=1024, help="0: all cores.")]


def names(text: str) -> list[str]:
    """`a, b` as a list; nothing for no text."""
    return [name.strip() for name in text.split(",")] if text else []
