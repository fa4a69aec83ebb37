"""One point of a sweep."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from runflat.grid import Scalar

if TYPE_CHECKING:
    from runflat.figure_data import Document


@dataclass(frozen=True, slots=True)
class Point:
    """One cell of the grid: its result.json without curves, or the reason why there is none."""

    values: dict[str, Scalar]
    reason: str
    document: Document | None
