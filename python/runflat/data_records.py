"""Documents to be packed, from JSON lines, text files and folders."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from runflat._core import ParseError

_BATCH_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Record:
    """A document as it is in its file; `line` counts from 1, and 0 is a text file as a whole."""

    file: str
    line: int
    content: bytes

    def text(self, key: str) -> str:
        """ParseError names the file and the line."""
        try:
            text = self.content.decode()
        except UnicodeDecodeError as error:
            raise self._error(
                f"expected UTF-8, found byte {error.object[error.start]:#04x}"
            ) from None
        return self._text_of_json(text, key) if self.line else text

    def _text_of_json(self, line: str, key: str) -> str:
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            value = None
        if not isinstance(value, dict):
            raise self._error("expected a JSON object")
        text = value.get(key)
        if not isinstance(text, str):
            raise self._error(f"expected text under the key {json.dumps(key)}")
        try:
            text.encode()
        except UnicodeEncodeError:  # half of a surrogate pair, as an escape
            raise self._error("expected text that is valid Unicode") from None
        return text

    def _error(self, what: str) -> ParseError:
        place = f"{self.file}: line {self.line}" if self.line else self.file
        return ParseError(f"{place}: {what}")


def input_files(inputs: Iterable[Path]) -> list[Path]:
    """Folders give their files in order of name, at any depth: JSON lines, and what is UTF-8."""
    files: list[Path] = []
    for path in inputs:
        files += _files_of_folder(path) if path.is_dir() else [path]
    return files


def _files_of_folder(folder: Path) -> list[Path]:
    found = sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    texts = [path for path in found if _is_json_lines(path) or _is_text(path)]
    if not texts:
        raise ParseError(f"{folder}: expected a folder with text files")
    return texts


def _is_json_lines(path: Path) -> bool:
    return path.suffix == ".jsonl"


def _is_text(path: Path) -> bool:
    try:
        return "\0" not in path.read_bytes().decode()
    except UnicodeDecodeError:
        return False


def read_records(files: Iterable[Path]) -> Iterator[Record]:
    """Blank lines hold no document. OSError for what cannot be read."""
    for path in files:
        if not _is_json_lines(path):
            yield Record(str(path), 0, path.read_bytes())
            continue
        with path.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield Record(str(path), number, line)


def in_batches(records: Iterable[Record]) -> Iterator[list[Record]]:
    """Of about a megabyte, which does not depend on how many workers there are."""
    batch: list[Record] = []
    size = 0
    for record in records:
        batch.append(record)
        size += len(record.content)
        if size >= _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
