"""Finished points of a sweep on disk, safe against a kill at any moment."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from runflat._core import ParseError

Outcome = dict[str, Any]


class PointStore:
    """One file per point in `folder/points`, named after what determines its outcome. A file is
    there whole, and on disk, or not at all."""

    def __init__(self, folder: Path, *, resume: bool) -> None:
        self._points = folder / "points"
        self._points.mkdir(parents=True, exist_ok=True)
        for leftover in self._points.glob("*.tmp"):
            leftover.unlink()
        if not resume and any(self._points.iterdir()):
            raise ParseError(f"{folder}: holds the points of a sweep, which --resume continues")

    def load(self, key: str) -> Outcome | None:
        try:
            outcome: Outcome = json.loads((self._points / f"{key}.json").read_bytes())
        except (FileNotFoundError, ValueError):
            return None
        return outcome

    def save(self, key: str, outcome: Outcome) -> None:
        fresh = self._points / f"{key}.tmp"
        with fresh.open("w") as file:
            json.dump(outcome, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(fresh, self._points / f"{key}.json")
        folder = os.open(self._points, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
