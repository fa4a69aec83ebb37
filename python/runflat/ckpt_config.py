"""A Hugging Face config.json, read with checks that name the key."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from runflat._core import ParseError

_VOCAB_MULTIPLE = 128  # as models are padded that are not imported


def read_json(file: Path) -> dict[str, Any]:
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ParseError(f"{file}: cannot be read: {reason}") from None
    if not isinstance(values, dict):
        raise ParseError(f"{file}: expected a JSON object")
    return values


class Config:
    """A key that is missing or null has its default, if there is one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "config.json"
        self.values = read_json(self.file)

    def _fail(self, key: str, expected: str) -> ParseError:
        found = self.values.get(key)
        return ParseError(f"{self.file}: {key}: expected {expected}, found {found!r}")

    def integer(self, key: str, default: int | None = None) -> int:
        value = self.values.get(key)
        value = default if value is None else value
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise self._fail(key, "an integer of at least 1")
        return value

    def number(self, key: str, default: float) -> float:
        value = self.values.get(key)
        value = default if value is None else value
        if not isinstance(value, int | float) or isinstance(value, bool) or not value > 0:
            raise self._fail(key, "a number above 0")
        return float(value)

    def flag(self, key: str, default: bool) -> bool:
        value = self.values.get(key)
        value = default if value is None else value
        if not isinstance(value, bool):
            raise self._fail(key, "true or false")
        return value

    def expect(self, key: str, *supported: object) -> None:
        """A key that changes the model must say what we train; missing, it is so."""
        if self.values.get(key, supported[0]) not in supported:
            raise self._fail(key, " or ".join(repr(value) for value in supported))

    def padded_vocab_size(self, wanted: int | None) -> int:
        vocab_size = self.integer("vocab_size")
        if wanted is None:
            return -(-vocab_size // _VOCAB_MULTIPLE) * _VOCAB_MULTIPLE
        if wanted < vocab_size:
            raise ParseError(f"--padded-vocab-size {wanted}: {self.file} has {vocab_size} tokens")
        return wanted
