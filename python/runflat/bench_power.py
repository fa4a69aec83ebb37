"""Power and clock of the GPUs while steps were timed."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

Sample = tuple[float, int, float, float]  # as _core.GpuSampler.stop() gives them


def power_facts(samples: Sequence[Sample], begin: float, end: float) -> dict[str, Any]:
    """Means over all GPUs and all samples between two times; None without a sample."""
    inside = [sample for sample in samples if begin <= sample[0] <= end]
    return {
        "power_watts": statistics.fmean(sample[2] for sample in inside) if inside else None,
        "sm_clock_mhz": statistics.fmean(sample[3] for sample in inside) if inside else None,
    }


def window_of(log: Path, records: Sequence[dict[str, Any]]) -> tuple[float, float]:
    """When these last steps of a log were taken: it is written at the end of each."""
    end = log.stat().st_mtime
    return end - 1e-3 * sum(record["step_time_ms"] for record in records), end
