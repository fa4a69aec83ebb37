"""Numbers as people read them."""

from __future__ import annotations

import pytest

from runflat.formats import compact, dollars, ranges


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"),
        (0.456, "0.46"),
        (9.994, "9.99"),
        (9.996, "10.0"),
        (99.96, "100"),
        (999.4, "999"),
        (999.6, "1.00k"),
        (12_345, "12.3k"),
        (7_891_234, "7.89M"),
        (2.5e9, "2.50B"),
        (-12_345, "-12.3k"),
    ],
)
def test_compact_keeps_three_digits(number: float, text: str) -> None:
    assert compact(number) == text
    assert dollars(number) == "$" + text


@pytest.mark.parametrize(
    ("numbers", "text"),
    [([], ""), ([5], "5"), ([0, 1, 2, 3, 7], "0-3, 7"), ([1, 3, 5], "1, 3, 5"), ([4, 5], "4-5")],
)
def test_ranges_draw_runs_together(numbers: list[int], text: str) -> None:
    assert ranges(numbers) == text
