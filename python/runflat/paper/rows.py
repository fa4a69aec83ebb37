"""One published result beside what the simulator gives for its setting."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum


class Verdict(str, Enum):
    """How a published number and ours compare."""

    REPRODUCED = "reproduced"
    WITHIN = "within tolerance"
    CALIBRATED = "calibrated assumption"
    NOT = "not reproducible"
    DIFFERS = "differs"

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True, slots=True)
class Row:
    """`values` are the numbers behind `ours`, shares in percent; `why` is due wherever the verdict
    is not `reproduced`."""

    id: str
    result: str
    setting: str
    paper: str
    ours: str
    verdict: Verdict
    why: str = ""
    values: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is simulated."""

    trials: int = 100
    placements: int = 200
    seed: int = 1


def within(value: float, target: float, tolerance: float) -> Verdict:
    """A number that is matched or missed."""
    return Verdict.WITHIN if abs(value - target) <= tolerance else Verdict.DIFFERS
