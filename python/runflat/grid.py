"""The points of a sweep: the cross product of axes over keys of a scenario."""

from __future__ import annotations

import itertools
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from runflat._core import ParseError

Scalar = bool | int | float | str
Vary = Mapping[str, object] | Sequence[str]

MOST_POINTS = 100_000
_DEFAULT_STEPS = 5
_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_RANGE = re.compile(rf"({_NUMBER}):({_NUMBER})(?::(log|lin))?(?::(\d+))?")


@dataclass(frozen=True, slots=True)
class Axis:
    """A key of the scenario and what it is set to, in order, as text that an override takes."""

    key: str
    texts: tuple[str, ...]
    is_log: bool = False

    @property
    def values(self) -> tuple[Scalar, ...]:
        return tuple(scalar(text) for text in self.texts)

    @property
    def is_numeric(self) -> bool:
        return all(isinstance(value, int | float) for value in self.values) and not any(
            isinstance(value, bool) for value in self.values
        )


def axes_of(vary: Vary) -> tuple[Axis, ...]:
    """Axes from `KEY=VALUES` texts, or from keys with a list of values or the text of such."""
    if isinstance(vary, Mapping):
        axes = tuple(
            parse_axis(f"{key}={values}") if isinstance(values, str) else _axis_of(key, values)
            for key, values in vary.items()
        )
    else:
        axes = tuple(map(parse_axis, vary))
    keys = [axis.key for axis in axes]
    for key in keys:
        if keys.count(key) > 1:
            raise ParseError(f"--vary {key}: named twice")
    if not axes:
        raise ParseError("--vary: expected at least one KEY=VALUES")
    if math.prod(len(axis.texts) for axis in axes) > MOST_POINTS:
        raise ParseError(f"--vary: more than {MOST_POINTS:,} points")
    return axes


def parse_axis(text: str) -> Axis:
    """`key=8,16,32`, `key=1:10:log:5` (5 values, equal ratios) or `key=0:1:lin:11`."""
    key, _, values = text.partition("=")
    if not key or not values:
        raise ParseError(f"--vary {text}: expected KEY=A,B,C or KEY=FROM:TO:log:STEPS")
    found = _RANGE.fullmatch(values.strip())
    if found is None:
        return _checked(Axis(key, tuple(_split(values))))
    first, last = float(found[1]), float(found[2])
    steps = int(found[4] or _DEFAULT_STEPS)
    is_log = found[3] == "log"
    if not 2 <= steps <= MOST_POINTS or (is_log and not (first > 0 and last > 0)):
        raise ParseError(f"--vary {text}: expected two steps or more, log between positive numbers")
    shares = [step / (steps - 1) for step in range(steps)]
    numbers = [
        first * (last / first) ** share if is_log else first + (last - first) * share
        for share in shares
    ]
    return _checked(Axis(key, tuple(f"{number:.6g}" for number in numbers), is_log))


def grid(axes: Sequence[Axis]) -> Iterable[tuple[str, ...]]:
    """The texts of every point, the last axis fastest."""
    return itertools.product(*(axis.texts for axis in axes))


def scalar(text: str) -> Scalar:
    """A value as Python has it; what is no number or truth is text."""
    try:
        value = json.loads(text)
    except ValueError:
        try:
            return float(text)
        except ValueError:
            return text
    return value if isinstance(value, bool | int | float | str) else text


def _axis_of(key: str, values: object) -> Axis:
    if not isinstance(values, Iterable):
        raise ParseError(f"--vary {key}: expected a list of values")
    texts = (value if isinstance(value, str) else json.dumps(value) for value in values)
    return _checked(Axis(key, tuple(texts)))


def _checked(axis: Axis) -> Axis:
    if not axis.texts or "" in axis.texts:
        raise ParseError(f"--vary {axis.key}: expected values between the commas")
    if len(set(axis.texts)) < len(axis.texts):
        raise ParseError(f"--vary {axis.key}: a value is there twice")
    kinds = {
        "number" if isinstance(value, int | float) and not isinstance(value, bool) else type(value)
        for value in axis.values
    }
    if len(kinds) > 1:
        raise ParseError(f"--vary {axis.key}: expected values of one kind, found {axis.texts}")
    return axis


def _split(text: str) -> list[str]:
    """Parts between commas that are in no bracket and no quotes."""
    parts, depth, quoted = [""], 0, False
    for letter in text:
        if letter == '"':
            quoted = not quoted
        elif not quoted:
            depth += (letter in "[{") - (letter in "]}")
        if letter == "," and depth == 0 and not quoted:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts]
