"""What the figures show; figures.py draws it as PNG files, charts.py for the report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from runflat.vocabulary import policy_term

Document = dict[str, Any]

_MARGIN = 1.1
_OFF_SCALE_RATIO = 5.0


@dataclass(frozen=True, slots=True)
class Line:
    """One policy's curve and how the legend calls it."""

    policy: str
    label: str
    x: list[float]
    y: list[float]


@dataclass(frozen=True, slots=True)
class Chart:
    """Curves of several policies over one axis, in legend order, in the units of the labels."""

    title: str
    x_label: str
    y_label: str
    y_range: tuple[float, float]
    lines: list[Line]


@dataclass(frozen=True, slots=True)
class Bars:
    """A stacked bar per policy: `shares[cause][i]` is what policy i lost to a cause, in percent.

    Bars longer than `x_limit` are cut there.
    """

    title: str
    x_label: str
    x_limit: float
    policies: list[str]
    shares: dict[str, list[float]]

    def total(self, index: int) -> float:
        return sum(share[index] for share in self.shares.values())

    def total_label(self, index: int) -> str:
        total = self.total(index)
        return f"{total:.1f} %" + (
            " \N{BLACK RIGHT-POINTING SMALL TRIANGLE}" * (total > self.x_limit)
        )


def goodput_over_time(document: Document) -> Chart:
    curves = document["goodput_over_time"]
    percents = _percents(curves["policies"])
    means = {policy: sum(y) / len(y) for policy, y in percents.items()}
    hidden = off_scale({policy: 100 - mean for policy, mean in means.items()})
    lowest = min(min(y) for policy, y in percents.items() if policy not in hidden)
    return Chart(
        title="Goodput over time",
        x_label="day of the run",
        y_label="goodput (%), mean of the trials",
        y_range=(max(0.0, 100 - _MARGIN * (100 - lowest)), 100.0),
        lines=[
            Line(policy, f"{_label(policy, hidden)}: {means[policy]:.1f} %", curves["days"], y)
            for policy, y in sorted(percents.items(), key=lambda item: -means[item[0]])
        ],
    )


def loss_against_failed_fraction(document: Document) -> Chart:
    curves = document["loss_vs_failed_fraction"]
    percents = _percents(curves["policies"])
    largest = {policy: max(y) for policy, y in percents.items()}
    hidden = off_scale(largest)
    failed = [100 * share for share in curves["failed_fraction"]]
    highest = max(value for policy, value in largest.items() if policy not in hidden)
    return Chart(
        title="Throughput lost while GPUs are down",
        x_label="GPUs down (% of the cluster)",
        y_label="throughput lost (%)",
        y_range=(0.0, _MARGIN * highest or 1.0),
        lines=[
            Line(policy, _label(policy, hidden), failed, y)
            for policy, y in sorted(percents.items(), key=lambda item: -largest[item[0]])
        ],
    )


def loss_by_cause(document: Document) -> Bars:
    """Policies come in the order of their loss, the largest first; causes that cost nothing go."""
    results = {policy["policy"]: policy for policy in document["policies"]}
    lost = {
        name: 100 * sum(policy["lost_gpu_hours"].values()) / policy["gpu_hours"]["total"]
        for name, policy in results.items()
    }
    names = sorted(lost, key=lambda name: -lost[name])
    hidden = off_scale(lost)
    shares = {
        cause: [
            100 * results[name]["lost_gpu_hours"][cause] / results[name]["gpu_hours"]["total"]
            for name in names
        ]
        for cause in results[names[0]]["lost_gpu_hours"]
    }
    return Bars(
        title="Where the GPU time goes",
        x_label="GPU-hours lost (% of all GPU-hours)",
        x_limit=max(lost[name] for name in names if name not in hidden) or 1.0,
        policies=names,
        shares={cause: values for cause, values in shares.items() if any(values)},
    )


def off_scale(losses: dict[str, float]) -> set[str]:
    """The policies that lose so much more than the others that a common scale would flatten those:
    at most half of them, each more than five times the best of the rest."""
    names = sorted(losses, key=lambda name: -losses[name])
    for num in range(len(names) // 2, 0, -1):
        if losses[names[num - 1]] > _OFF_SCALE_RATIO * losses[names[num]]:
            return set(names[:num])
    return set()


def _percents(curves: dict[str, list[float]]) -> dict[str, list[float]]:
    return {policy: [100 * value for value in y] for policy, y in curves.items()}


def _label(policy: str, hidden: set[str]) -> str:
    return policy_term(policy).label + (" (off scale)" if policy in hidden else "")
