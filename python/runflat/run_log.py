"""The lines of JSON that `runflat train --log` writes: a header, a line per step, and for every
recovery a line with its times and one with the plan that followed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runflat._core import ParseError, Plan

SPANS = ("detect", "quiesce", "agree", "communicators", "move", "warm_up", "redo")


@dataclass(frozen=True, slots=True)
class Recovery:
    """One transition; times in seconds, None where they are unknown."""

    generation: int
    rung: str
    cause: str  # exit, hang, peer_lost or join
    reason: str
    step: int
    num_ranks: int  # of the plan that followed
    spans: Mapping[str, float | None]
    total: float | None
    bytes_moved: int | None
    old: Plan
    next: Plan | None  # none where the log ends before its line


@dataclass(slots=True)
class Stretch:
    """Steps under one plan."""

    plan: Plan
    gpu: str | None  # as its driver calls it; none: ranks computed on the CPU
    steps: list[int] = field(default_factory=list)
    step_times: list[float] = field(default_factory=list)  # seconds


@dataclass(frozen=True, slots=True)
class RunLog:
    path: Path
    stretches: list[Stretch]
    recoveries: list[Recovery]


def read_run_log(path: Path) -> RunLog:
    """ParseError with the number of the first line that is not what it should be. Lines of other
    kinds and keys that are not known are passed over."""
    reader = _LogReader()
    for number, text in enumerate(_lines(path), 1):
        try:
            reader.add(_object(text))
        except KeyError as error:
            raise ParseError(f"{path}: line {number}: has no {error.args[0]}") from None
        except ValueError as error:  # ParseError of a plan is one, too
            raise ParseError(f"{path}: line {number}: {error}") from None
    reader.end()
    return RunLog(path, reader.stretches, reader.recoveries)


def _lines(path: Path) -> Iterator[str]:
    try:
        text = path.read_text()
    except UnicodeDecodeError:
        raise ParseError(f"{path}: is not text") from None
    if not text.strip():
        raise ParseError(f"{path}: is empty: expected what `runflat train --log` writes")
    yield from text.splitlines()


def _object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise ValueError(f"not JSON: {error}") from None
    if not isinstance(value, dict):
        raise ValueError("expected a JSON object")
    return value


class _LogReader:
    def __init__(self) -> None:
        self.stretches: list[Stretch] = []
        self.recoveries: list[Recovery] = []
        self._pending: dict[str, Any] | None = None  # the recovery whose plan is to come

    def add(self, line: dict[str, Any]) -> None:
        if "runflat" in line:  # once more where a job went on
            self.end()
            gpu = line.get("gpu") if line.get("backend") == "cuda" else None
            self.stretches.append(Stretch(_plan(line["plan"]), gpu))
        elif not self.stretches:
            raise ValueError("expected the header that `runflat train --log` writes first")
        elif "recovery" in line:
            self.end()
            self._pending = _record(line["recovery"])
        elif "plan" in line:
            following = _plan(line["plan"])
            self.end(following)
            self.stretches.append(Stretch(following, self.stretches[-1].gpu))
        elif "step" in line:
            self.stretches[-1].steps.append(int(_number(line, "step")))
            if line["step_time_ms"] is not None:  # none: a recovery completed the step
                self.stretches[-1].step_times.append(_number(line, "step_time_ms") / 1e3)

    def end(self, following: Plan | None = None) -> None:
        """No plan, or this one, follows the last recovery."""
        if self._pending is not None:
            old = self.stretches[-1].plan
            self.recoveries.append(Recovery(**self._pending, old=old, next=following))
            self._pending = None


def _plan(document: Any) -> Plan:
    return Plan.from_json(json.dumps(document))


def _record(fields: Any) -> dict[str, Any]:
    if not isinstance(fields, dict) or not isinstance(fields.get("spans_ms"), dict):
        raise ValueError("recovery: expected an object with spans_ms")
    moved = _known(fields, "bytes_moved")
    return {
        "generation": int(_number(fields, "generation")),
        "rung": str(fields["rung"]),
        "cause": str(fields["cause"]),
        "reason": str(fields.get("reason", "")),
        "step": int(_number(fields, "step")),
        "num_ranks": int(_number(fields, "num_ranks")),
        "spans": {span: _seconds(fields["spans_ms"], span) for span in SPANS},
        "total": _seconds(fields, "total_ms"),
        "bytes_moved": None if moved is None else int(moved),
    }


def _seconds(fields: Mapping[str, Any], key: str) -> float | None:
    value = _known(fields, key)
    return None if value is None else value / 1e3


def _known(fields: Mapping[str, Any], key: str) -> float | None:
    return None if fields.get(key) is None else _number(fields, key)


def _number(fields: Mapping[str, Any], key: str) -> float:
    value = fields[key]
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e300:
        raise ValueError(f"{key}: expected a number of at least 0, found {json.dumps(value)}")
    return value
