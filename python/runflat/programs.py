"""The compiled programs of the package."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from runflat._core import ParseError

_BIN = Path(str(resources.files("runflat"))) / "bin"


def program(name: str) -> Path:
    """ParseError where the build has left it out."""
    path = _BIN / name
    if not path.is_file():
        raise ParseError(f"{path}: is not built; `make setup` builds it")
    return path
