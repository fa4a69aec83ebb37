"""Prediction and measurement of a run, side by side."""

from __future__ import annotations

import json
import re
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runflat._core import InfeasibleError, Plan, price_plan, recovery_costs
from runflat.run_log import Recovery, RunLog, Stretch

IN_PLACE = "in_place"
JOIN = "join"
# What the simulator charges as one, a run measures as several.
ROWS: Mapping[str, tuple[str, ...]] = {
    "detect": ("detect",),
    "quiesce": ("quiesce", "agree"),
    "communicators": ("communicators",),
    "move": ("move",),
    "warm_up": ("warm_up",),
    "redo": ("redo",),
}


@dataclass(frozen=True, slots=True)
class Sources:
    """What predicts: a release or a parameter file, and a file with the costs of recoveries."""

    release: str = ""
    hardware: Path | None = None
    recovery: Path | None = None


def compare(log: RunLog, sources: Sources) -> dict[str, Any]:
    """The document that `runflat compare --json` writes. A number that nobody knows is None."""
    steps = [_step(stretch, sources) for stretch in log.stretches if stretch.steps]
    recoveries = [_recovery(recovery, sources, log.stretches) for recovery in log.recoveries]
    return {"schema": 1, "run": str(log.path), "steps": steps, "recoveries": recoveries}


def predicted_step(plan: Plan, gpu: str | None, sources: Sources) -> float | None:
    """Seconds by the step simulator; None for a plan that it cannot price, and for ranks on CPUs,
    which no parameters describe, unless a file is given."""
    if gpu is None and sources.hardware is None:
        return None
    on_gpu = _on_gpu(plan, gpu or "any")
    try:
        text, _ = price_plan(on_gpu, release=sources.release, hardware=sources.hardware)
    except InfeasibleError:
        return None
    return json.loads(text)["simulated_step_time_s"]


def _on_gpu(plan: Plan, name: str) -> Plan:
    """A plan that does not care gets the GPU that it ran on: NVIDIA H100 80GB HBM3 is h100."""
    document = json.loads(plan.to_json())
    model = re.search(r"\b(GB|[A-Z])\d{2,3}\b", name)
    if document["cluster"]["gpu"] == "any" and model:
        document["cluster"]["gpu"] = model[0].lower()
    return Plan.from_json(json.dumps(document))


def _step(stretch: Stretch, sources: Sources) -> dict[str, Any]:
    return {
        "first_step": stretch.steps[0],
        "num_steps": len(stretch.steps),
        "num_ranks": stretch.plan.num_ranks,
        "measured_s": statistics.median(stretch.step_times),
        "predicted_s": predicted_step(stretch.plan, stretch.gpu, sources),
    }


def _recovery(recovery: Recovery, sources: Sources, stretches: list[Stretch]) -> dict[str, Any]:
    measured = {row: _sum([recovery.spans[span] for span in spans]) for row, spans in ROWS.items()}
    predicted = _predicted(recovery, sources, stretches[0].gpu)
    spans = [
        {"span": row, "measured_s": measured[row], "predicted_s": predicted[row]} for row in ROWS
    ]
    total = recovery.total if recovery.total is not None else _sum(measured.values())
    spans.append({"span": "total", "measured_s": total, "predicted_s": predicted["total"]})
    return {
        "generation": recovery.generation,
        "rung": recovery.rung,
        "cause": recovery.cause,
        "reason": recovery.reason,
        "step": recovery.step,
        "num_ranks": recovery.num_ranks,
        "bytes_moved": recovery.bytes_moved,
        "spans": spans,
    }


def _predicted(recovery: Recovery, sources: Sources, gpu: str | None) -> dict[str, float | None]:
    """The simulator's costs of such a recovery. It charges half a step of work on average for a
    failure; another rung than in place is one pause."""
    costs = recovery_costs(sources.recovery, old=recovery.old, next=recovery.next or recovery.old)
    parts: dict[str, float | None] = dict.fromkeys([*ROWS, "total"])
    if recovery.cause != JOIN:
        parts["detect"] = costs["detect_hang" if recovery.cause == "hang" else "detect_crash"]
    if recovery.rung != IN_PLACE:
        parts["total"] = (parts["detect"] or 0.0) + costs["restart"]
        return parts
    for row in ("quiesce", "communicators", "warm_up"):
        parts[row] = costs[row]
    if recovery.next is not None:
        parts["move"] = costs["move"]
    step = predicted_step(recovery.old, gpu, sources)
    parts["redo"] = step / 2.0 if step is not None and recovery.cause != JOIN else None
    parts["total"] = _sum(parts[row] for row in ROWS)
    return parts


def _sum(values: Any) -> float | None:
    """Of those that are known; None where none is."""
    known = [value for value in values if value is not None]
    return sum(known) if known else None
