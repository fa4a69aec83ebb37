"""What `runflat launch` starts: `runflat train` once on every node of a job."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from runflat._core import ParseError, train_job
from runflat.train_command import config_file, train_command

# What trains a plan that is given without a configuration.
_PLAN_CONFIG = "any-plan-mock"
LONGEST_NAME = 40  # what Kubernetes adds to it must fit into the 63 letters of a host's name


@dataclass(frozen=True, slots=True)
class LaunchJob:
    """A job on `num_nodes` nodes, whose arguments `runflat train` has accepted."""

    name: str  # a letter, then letters, digits and hyphens, all lower-case
    config: Path
    options: tuple[str, ...]  # of `runflat train`, after the configuration
    document: dict[str, Any]  # the configuration, overrides applied
    num_nodes: int
    node_names: tuple[str, ...]  # where a person gave them
    gpus_per_node: int  # 0: on CPUs
    store: str | None

    @property
    def is_resumable(self) -> bool:
        """It goes on from its own checkpoints when it is started again."""
        checkpoint = self.document.get("checkpoint", {})
        return "save" in checkpoint and checkpoint.get("save") == checkpoint.get("load")

    def command(self, program: str, config: str | None = None) -> list[str]:
        """What runs on every node; `config` is where the configuration is there."""
        return [program, "train", config or str(self.config), *self.options]


def make_job(job: str, nodes: str, store: str | None, options: Sequence[str]) -> LaunchJob:
    """`job` is a configuration or a plan, `nodes` a number, names as a,b, or empty: as many as the
    plan's cluster has. ParseError for anything that `runflat train` would not accept."""
    config, options = _with_plan(job, options)
    given = _train_parameters(config, options)
    if given["backend"] not in ("cpu", "cuda"):
        raise ParseError(f"--backend: expected cpu or cuda, found {given['backend']}")
    plan, text = train_job(config, given["overrides"] or [])
    document = json.loads(text)
    names = tuple(nodes.split(",")) if nodes and not nodes.isdecimal() else ()
    num_nodes = len(names) or int(nodes or plan.cluster.num_nodes)
    num_gpus = plan.cluster.num_gpus
    if not 1 <= num_nodes <= num_gpus or not all(names):
        raise ParseError(f"--nodes: expected 1 to {num_gpus} nodes, or their names, found {nodes}")
    return LaunchJob(
        name=_name_of(Path(job).stem),
        config=config,
        options=tuple(options),
        document=document,
        num_nodes=num_nodes,
        node_names=names,
        gpus_per_node=-(-num_gpus // num_nodes) if given["backend"] == "cuda" else 0,
        store=store or document.get("store"),
    )


def _with_plan(job: str, options: Sequence[str]) -> tuple[Path, list[str]]:
    """A plan alone trains on made-up data until the options say otherwise."""
    if Path(job).suffix == ".json" and _is_plan(Path(job)):
        return config_file(_PLAN_CONFIG), [f"--set=plan={job}", *options]
    return config_file(job), list(options)


def _is_plan(path: Path) -> bool:
    try:
        document = json.loads(path.read_text())
    except ValueError:
        return False  # the reader of configurations says what is wrong with it
    return isinstance(document, dict) and {"schema", "policy", "replicas"} <= document.keys()


def _train_parameters(config: Path, options: Sequence[str]) -> dict[str, Any]:
    """What `runflat train` understands of these options; it refuses them here, not on the nodes."""
    app = typer.Typer(add_completion=False)
    app.command("train")(train_command)
    command = typer.main.get_command(app)
    return command.make_context("runflat train", [str(config), *options]).params


def _name_of(stem: str) -> str:
    name = re.sub("[^a-z0-9]+", "-", stem.lower()).strip("-")
    name = name if name[:1].isalpha() else f"job-{name}"
    return name[:LONGEST_NAME].strip("-")


def this_program() -> str:
    """The command `runflat` of this installation, which nodes share by their file system."""
    return str(Path(sys.executable).with_name("runflat"))
