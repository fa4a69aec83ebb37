"""The simulator's word on a step that was timed."""

from __future__ import annotations

import json
import re
from typing import Any

from runflat._core import ParseError, Plan
from runflat.api import step


def predicted_ms(header: dict[str, Any], release: str) -> float:
    """The step of a training log's plan on GPUs of its kind in one NVLink domain, with the
    parameters of a software release. ParseError where there are none."""
    plan = header["plan"] | {"cluster": _cluster(header)}
    priced = json.loads(step(Plan.from_json(json.dumps(plan)), release).text)
    return 1e3 * priced["simulated_step_time_s"]


def _cluster(header: dict[str, Any]) -> dict[str, Any]:
    ranks = header["world_size"]
    return {
        "gpu": hardware_of(header.get("gpu", "")),
        "num_nodes": 1,
        "gpus_per_node": ranks,
        "domain_size": ranks,
    }


def hardware_of(gpu: str) -> str:
    """The name among the simulator's parameters of what the driver calls a GPU: `NVIDIA H100 80GB
    HBM3` is `h100`."""
    found = re.search(r"\b[A-Z]+\d{3}\b", gpu)
    if found is None:
        raise ParseError(f"--release: no parameters for the GPU {gpu or 'of the host'}")
    return found.group().lower()
