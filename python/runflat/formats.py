"""Numbers as people read them."""

from __future__ import annotations

from collections.abc import Iterable


def percent(share: float, digits: int = 2) -> str:
    return f"{100 * share:.{digits}f} %"


def compact(number: float) -> str:
    """Three digits and a suffix: 0, 12.3, 456k, 7.89M."""
    for size, suffix in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(number) >= 0.9995 * size:
            return _three_digits(number / size) + suffix
    return "0" if number == 0 else _three_digits(number)


def dollars(usd: float) -> str:
    return "$" + compact(usd)


def _three_digits(number: float) -> str:
    if abs(number) >= 99.95:
        return f"{number:.0f}"
    return f"{number:.1f}" if abs(number) >= 9.995 else f"{number:.2f}"


def ranges(numbers: Iterable[int]) -> str:
    """Ascending numbers with runs drawn together: 0-3, 7."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)
