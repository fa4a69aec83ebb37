"""Costs of recoveries for `runflat whatif`, from what runs measured.

The simulator charges detection, quiesce, communicators (base + per_doubling log2 ranks), state copy
(base + bytes / bandwidth) and warm-up. Medians; where only one size was measured, the published
growth with size keeps its shape. Recoveries on another rung than in place enter nothing: a restart
of RunFlat's ranks inside a job is not the restart of a job.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from runflat._core import ParseError, recovery_costs
from runflat.compare import IN_PLACE, JOIN
from runflat.run_log import Recovery, RunLog

_CRASHES = ("exit", "peer_lost")
_LEAST_SECONDS_PER_GB = 1e-6  # where the size makes no difference
Points = Sequence[tuple[float, float]]  # a size, and seconds


@dataclass(frozen=True, slots=True)
class FittedCost:
    """A line of the file."""

    key: str
    value: float
    times: tuple[float, ...]  # seconds that were measured


def fit_recovery(logs: Iterable[RunLog]) -> list[FittedCost]:
    """The keys of `[recovery]` that these runs know. ParseError where they know none."""
    all_recoveries = [recovery for log in logs for recovery in log.recoveries]
    recoveries = [recovery for recovery in all_recoveries if recovery.rung == IN_PLACE]
    costs = [
        *_median("detect_crash", [r.spans["detect"] for r in recoveries if r.cause in _CRASHES]),
        *_median("detect_hang", [r.spans["detect"] for r in recoveries if r.cause == "hang"]),
        *_median("rejoin", [r.total for r in recoveries if r.cause == JOIN]),
        *_quiesce(recoveries),
        *_communicators(recoveries),
        *_state_copy(recoveries),
        *_median("warm_up", [r.spans["warm_up"] for r in recoveries]),
    ]
    if not costs:
        raise ParseError("no recovery in place with times is in these runs")
    return costs


def to_toml(costs: Iterable[FittedCost], num_runs: int) -> str:
    """A file that `--set FILE` of whatif, sweep, plan and step reads."""
    costs = list(costs)
    runs = "run" if num_runs == 1 else "runs"
    lines = [f"# Recoveries that {num_runs} {runs} of `runflat train` measured."]
    for cost in costs:
        if cost.times:
            low, high = min(cost.times), max(cost.times)
            lines.append(f"# {cost.key}: {len(cost.times)} points, {low:.3g} to {high:.3g} s")
    lines += ["", "[recovery]"]
    if any(cost.key.startswith("communicator_") for cost in costs):
        lines.append('communicators = "shrink"')
    lines += [f"{cost.key} = {float(f'{cost.value:.9g}')!r}" for cost in costs]
    return "\n".join(lines) + "\n"


def nonnegative_line(points: Points) -> tuple[float, float]:
    """Intercept and slope of the least squares, neither below 0."""
    mean_x = statistics.fmean(x for x, _ in points)
    mean_y = statistics.fmean(y for _, y in points)
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    slope = sum((x - mean_x) * (y - mean_y) for x, y in points) / spread
    if slope < 0.0:
        return mean_y, 0.0
    if mean_y < slope * mean_x:
        return 0.0, sum(x * y for x, y in points) / sum(x * x for x, _ in points)
    return mean_y - slope * mean_x, slope


def _median(stem: str, times: Iterable[float | None]) -> list[FittedCost]:
    known = tuple(time for time in times if time is not None)
    return [FittedCost(f"{stem}_seconds", statistics.median(known), known)] if known else []


def _quiesce(recoveries: Sequence[Recovery]) -> list[FittedCost]:
    """With the agreement on who is left, which the simulator does not know apart."""
    times = [
        r.spans["quiesce"] + (r.spans["agree"] or 0.0)
        for r in recoveries
        if r.spans["quiesce"] is not None
    ]
    pending = FittedCost("quiesce_pending_seconds", 0.0, ())  # it is in what was measured
    return [*_median("quiesce", times), pending] if times else []


def _communicators(recoveries: Sequence[Recovery]) -> list[FittedCost]:
    known = [r for r in recoveries if r.spans["communicators"] is not None]
    if not known:
        return []
    points = [(math.log2(r.old.num_ranks), r.spans["communicators"]) for r in known]
    if len({x for x, _ in points}) > 1:
        base, slope = nonnegative_line(points)
    else:
        published = _charges(known[0])
        scale = statistics.median(y for _, y in points) / published["communicators"]
        base = scale * published["communicator_base"]
        slope = scale * published["communicator_per_doubling"]
    return [
        FittedCost("communicator_base_seconds", base, tuple(y for _, y in points)),
        FittedCost("communicator_per_doubling_seconds", slope, ()),
    ]


def _state_copy(recoveries: Sequence[Recovery]) -> list[FittedCost]:
    """By the bytes of the busiest GPU, over the network if a run used it, else in the domain."""
    known = [r for r in recoveries if r.next is not None and r.spans["move"] is not None]
    charges = [(r.spans["move"], _charges(r)) for r in known]
    charges = [(time, charge) for time, charge in charges if charge["move"] is not None]
    if not charges:
        return []
    published = charges[0][1]
    over_network = any(charge["network_bytes"] for _, charge in charges)
    bandwidth = "state_copy_GBps" if over_network else "nvlink_copy_GBps"
    size = "network_bytes" if over_network else "domain_bytes"
    # Beside the network the domain has its published rate.
    other = 1e-9 / published["nvlink_copy_GBps"] if over_network else 0.0
    points = [
        (charge[size] / 1e9, max(0.0, time - other * charge["domain_bytes"]))
        for time, charge in charges
    ]
    base, slope = _copy_line(points, 1.0 / published[bandwidth])
    return [
        FittedCost("state_copy_base_seconds", base, tuple(time for time, _ in charges)),
        FittedCost(bandwidth, 1.0 / max(slope, _LEAST_SECONDS_PER_GB), ()),
    ]


def _copy_line(points: Points, published: float) -> tuple[float, float]:
    """Seconds, and seconds per GB. One size alone does not tell them apart: the published rate
    stays unless the copy was faster than that."""
    if len({x for x, _ in points}) > 1:
        return nonnegative_line(points)
    gigabytes, time = points[0][0], statistics.median(y for _, y in points)
    base = time - published * gigabytes
    return (base, published) if base >= 0.0 else (0.0, time / gigabytes)


def _charges(recovery: Recovery) -> dict[str, float | None]:
    return recovery_costs(None, old=recovery.old, next=recovery.next or recovery.old)
