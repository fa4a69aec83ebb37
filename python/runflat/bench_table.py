"""Tables as nccl-tests prints them: lines of `#` say what was measured with what, then columns of
fixed width."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple


class Column(NamedTuple):
    """`form` is a format specification for the value under `key`; what is missing is `-`."""

    title: str
    key: str
    width: int
    form: str = ""


def fact_lines(facts: dict[str, Any]) -> list[str]:
    """`# name: value`, without those that are not known."""
    return [f"# {name}: {value}" for name, value in facts.items() if value not in (None, "")]


def table_lines(columns: Sequence[Column], rows: Iterable[dict[str, Any]]) -> list[str]:
    titles = (_padded(column.title, column.width, column.form) for column in columns)
    lines = [f"# {' '.join(titles)}".rstrip()]
    for row in rows:
        cells = (
            _padded(_text(row.get(column.key), column.form), column.width, column.form)
            for column in columns
        )
        lines.append(f"  {' '.join(cells)}".rstrip())
    return lines


def verdict_line(rows: Sequence[dict[str, Any]], key: str = "wrong") -> str:
    """nccl-tests' last word on correctness."""
    wrong = sum(row.get(key) or 0 for row in rows)
    return f"# Out of bounds values : {wrong:.0f} {'FAILED' if wrong else 'OK'}"


def _text(value: Any, form: str) -> str:
    return "-" if value is None else format(value, form)


def _padded(text: str, width: int, form: str) -> str:
    """Numbers to the right, text to the left."""
    return text.rjust(width) if form else text.ljust(width)
