"""Options and variables under which a launcher ends or restarts the survivors of a failure."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from runflat._core import ParseError

WRITTEN = "runflat launch writes it; --nodes says how many"


@dataclass(frozen=True, slots=True)
class Refusal:
    """An option by its names, or a variable by its name, and what it would do. Values are regular
    expressions."""

    names: tuple[str, ...]
    reason: str
    harmless: str | None = None  # values that are accepted
    harmful: str = ".*"  # of the others, values that are refused

    def refuses(self, value: str) -> bool:
        is_harmless = self.harmless is not None and re.fullmatch(self.harmless, value)
        return not is_harmless and re.fullmatch(self.harmful, value) is not None


def words_of(options: Iterable[str]) -> list[str]:
    """`--option VALUE` and `--option=VALUE` as they stand in a shell, as words."""
    try:
        return [word for option in options for word in shlex.split(option)]
    except ValueError as error:
        raise ParseError(f"--option: {error}") from None


def check_options(words: Sequence[str], refusals: Iterable[Refusal]) -> None:
    """ParseError that names the first option that is refused."""
    for name, value in _pairs(words):
        for refusal in refusals:
            if any(_is(name, other) for other in refusal.names) and refusal.refuses(value):
                given = f"{name}={value}" if value else name
                raise ParseError(f"--option {given}: {refusal.reason}")


def check_environment(variables: Mapping[str, str], refusals: Iterable[Refusal]) -> None:
    for refusal in refusals:
        for name in refusal.names:
            if name in variables and refusal.refuses(variables[name]):
                raise ParseError(f"{name}={variables[name]}: {refusal.reason}; unset it")


def _is(name: str, other: str) -> bool:
    """Launchers take a long option by its first letters, too."""
    return name == other or (len(name) > 5 and name.startswith("--") and other.startswith(name))


def _pairs(words: Sequence[str]) -> Iterable[tuple[str, str]]:
    """Options and their values; `--mca KEY VALUE` is the option KEY."""
    following = [*words[1:], "", ""]
    for i, word in enumerate(words):
        if not word.startswith("-"):
            continue
        name, _, value = word.partition("=")
        next_word = following[i]
        if name.lstrip("-") == "mca":
            yield next_word, following[i + 1]
            continue
        if not name.startswith("--") and len(name) > 2 and name[2:].isalnum() and name[1].isupper():
            yield name[:2], name[2:]  # -K1
        if "=" not in word and next_word and not next_word.startswith("-"):
            value = next_word
        yield (name.replace("_", "-") if name.startswith("--") else name), value
