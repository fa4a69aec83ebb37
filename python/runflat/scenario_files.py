"""Scenarios by name or by path."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from pathlib import Path

from runflat._core import ParseError, Scenario, read_scenario


def shipped_scenarios() -> dict[str, Path]:
    """The scenarios that come with the package, by name."""
    folder = Path(str(resources.files("runflat"))) / "scenarios"
    return {file.stem: file for file in sorted(folder.glob("*.toml"))}


def load_scenario(name_or_path: str | Path, overrides: Sequence[str] = ()) -> Scenario:
    """Reads a shipped scenario or a TOML file; `overrides` are `key=value` with dotted keys.

    Raises ParseError, which names the file and the key path, for anything that is not right.
    """
    path, shipped = Path(name_or_path), shipped_scenarios()
    if str(name_or_path) in shipped:
        path = shipped[str(name_or_path)]
    elif path.suffix == "":
        names = ", ".join(shipped)
        raise ParseError(f"{path}: expected a .toml or .json file, or one of {names}")
    return read_scenario(path, list(overrides))
