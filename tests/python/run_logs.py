"""Logs of `runflat train` as a run under known costs would write them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import runflat
from runflat._core import recovery_costs


def header(plan: runflat.Plan, **more: Any) -> dict[str, Any]:
    facts = {"backend": "cuda", "gpu": "NVIDIA H100 80GB HBM3", "world_size": plan.num_ranks}
    return {"runflat": "0.1.0", **facts, "plan": json.loads(plan.to_json()), "config": {}, **more}


def step(number: int, seconds: float) -> dict[str, Any]:
    return {"step": number, "loss": 1.0, "step_time_ms": 1e3 * seconds, "mfu": None}


def recovery(
    old: runflat.Plan, new: runflat.Plan, costs: Path | None, cause: str = "exit", **more: Any
) -> list[dict[str, Any]]:
    """The two lines of a recovery in place that took what these costs charge; a third of the
    quiesce is the agreement."""
    charge = recovery_costs(costs, old=old, next=new)
    seconds = {key: charge[key] for key in ("communicators", "move", "warm_up")}
    seconds |= {"quiesce": charge["quiesce"] * 2 / 3, "agree": charge["quiesce"] / 3, "redo": None}
    detect = {"hang": charge["detect_hang"], "join": None}
    seconds["detect"] = detect.get(cause, charge["detect_crash"])
    spans = {key: None if value is None else 1e3 * value for key, value in seconds.items()}
    total = sum(value for value in spans.values() if value is not None)
    record = {"generation": 1, "rung": "in_place", "reason": "lost 3", "step": 4, "cause": cause}
    record |= {"members": [0, 1], "num_ranks": new.num_ranks, "spans_ms": spans, "total_ms": total}
    record |= {"bytes_moved": 12, **more}
    return [{"recovery": record}, {"plan": json.loads(new.to_json())}]


def write(path: Path, *lines: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path
