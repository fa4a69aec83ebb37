"""What `runflat plan` prints: who runs where and why."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from rich.console import Group
from rich.table import Table

from runflat._core import Plan
from runflat.formats import ranges


@dataclass(frozen=True, slots=True)
class Replica:
    """What the plan says about one data-parallel replica, as far as replicas can be alike."""

    tp_sizes: tuple[int, ...]  # the different TP degrees of its stages, ascending
    num_microbatches: int
    num_recompute_layers: int
    power: float
    num_gpus: int
    inactive: tuple[int, ...]  # GPUs of its slots that do not run


def plan_summary(plan: Plan) -> Group:
    document = json.loads(plan.to_json())
    lines = [
        f"policy {plan.policy}: {plan.num_ranks:,} of {plan.cluster.num_gpus:,} GPUs train, "
        f"{plan.global_batch_size:,} sequences a step",
        f"failed GPUs: {ranges(plan.failed) or 'none'}",
        f"spare domains: {ranges(document['spare_domains']) or 'none'}",
        "",
        *plan.reasons,
        "",
    ]
    return Group("\n".join(lines), _replica_table(_replicas(document)))


def _replicas(document: dict[str, Any]) -> list[Replica]:
    cells: list[list[dict[str, Any]]] = [[] for _ in document["replicas"]]
    for cell in document["layout"]["cells"]:
        cells[cell["dp"]].append(cell)
    return [_replica(own, share) for own, share in zip(cells, document["replicas"], strict=True)]


def _replica(cells: list[dict[str, Any]], share: dict[str, Any]) -> Replica:
    sizes = [len(cell["gpus"]) - len(cell["inactive"]) for cell in cells]
    return Replica(
        tp_sizes=tuple(sorted(set(sizes))),
        num_microbatches=share["num_microbatches"],
        num_recompute_layers=share["num_recompute_layers"],
        power=share["power"],
        num_gpus=sum(sizes),
        inactive=tuple(cell["gpus"][slot] for cell in cells for slot in cell["inactive"]),
    )


def _replica_table(replicas: Iterable[Replica]) -> Table:
    """Replicas that are alike share a row."""
    dp_ranks: dict[Replica, list[int]] = {}
    for dp_rank, replica in enumerate(replicas):
        dp_ranks.setdefault(replica, []).append(dp_rank)
    table = Table(box=None, pad_edge=False)
    table.add_column("replicas (dp rank)", overflow="fold")
    for name in ("TP", "microbatches", "recomputed", "power", "GPUs each"):
        table.add_column(name, justify="right")
    table.add_column("GPUs out", overflow="fold")
    for replica, ranks in dp_ranks.items():
        table.add_row(
            ranges(ranks),
            ranges(replica.tp_sizes),
            str(replica.num_microbatches),
            f"{replica.num_recompute_layers} layers",
            f"{replica.power:.2f}",
            f"{replica.num_gpus:,}",
            ranges(sorted(replica.inactive)),
        )
    return table
