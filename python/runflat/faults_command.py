"""`runflat faults fit` and `runflat faults sample`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from runflat._core import fit_faults, sample_faults
from runflat.console import stdout_console
from runflat.faults_table import fit_tables
from runflat.outputs import write_text
from runflat.scenario_files import shipped_scenarios

faults_app = typer.Typer(
    name="faults", no_args_is_help=True, help="Failure models from traces, and traces from models."
)

_MOST_DAYS = 100_000.0


@faults_app.command("fit")
def fit_command(
    trace: Annotated[Path, typer.Argument(help="CSV: start_day, end_day, node, class, ...")],
    nodes: Annotated[int, typer.Option(min=1, max=10_000_000, help="Nodes of the cluster.")],
    output: Annotated[
        str | None, typer.Option("-o", metavar="FILE", help="Write the model as TOML; - is stdout.")
    ] = None,
    gpus_per_node: Annotated[int, typer.Option(min=1, max=1024)] = 8,
    domain_size: Annotated[
        int, typer.Option(min=0, max=65536, help="GPUs of an NVLink domain; 0: a node.")
    ] = 0,
    days: Annotated[
        float,
        typer.Option(min=0, max=_MOST_DAYS, help="Time that the trace covers; 0: up to its end."),
    ] = 0.0,
    replicas: Annotated[
        int, typer.Option(min=0, max=100_000, help="Bootstrap samples for the intervals.")
    ] = 200,
    least_faults: Annotated[
        int, typer.Option(min=2, help="Classes with fewer faults are pooled.")
    ] = 30,
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Same seed, same result.")] = 1,
    json_file: Annotated[
        str | None, typer.Option("--json", metavar="FILE", help="Write the fit; - is stdout.")
    ] = None,
) -> None:
    """How often does what fail, in which patterns, and how long do repairs take?"""
    model, report = fit_faults(
        trace,
        num_nodes=nodes,
        gpus_per_node=gpus_per_node,
        domain_size=domain_size or gpus_per_node,
        observed_days=days,
        replicas=replicas,
        least_faults=least_faults,
        seed=seed,
    )
    if output is not None:
        write_text(output, model)
    if json_file is not None:
        write_text(json_file, report)
    if "-" not in (output, json_file):
        stdout_console().print(fit_tables(json.loads(report)))


@faults_app.command("sample")
def sample_command(
    source: Annotated[
        str, typer.Argument(help="A scenario, or a model that `runflat faults fit` wrote.")
    ],
    days: Annotated[float, typer.Option(min=1e-3, max=_MOST_DAYS, help="Length of the trace.")],
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Same seed, same trace.")] = 1,
    output: Annotated[
        str, typer.Option("-o", metavar="FILE", help="Write the CSV; - is stdout.")
    ] = "-",
) -> None:
    """What could the next months look like?"""
    path = shipped_scenarios().get(source, Path(source))
    write_text(output, sample_faults(path, days=days, seed=seed))
