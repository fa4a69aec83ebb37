"""What all benchmarks need: the compiled programs, GPUs, and somewhere for results to go."""

from __future__ import annotations

import json
from collections.abc import Iterable
from importlib import resources
from pathlib import Path
from typing import Any

from runflat import _core
from runflat._core import ParseError
from runflat.outputs import write_text

_BIN = Path(str(resources.files("runflat"))) / "bin"


def program(name: str) -> Path:
    path = _BIN / name
    if not path.is_file():
        raise ParseError(f"{path}: is not built; `make setup` builds it")
    return path


def require_gpus(at_least: int = 1) -> int:
    """How many this host has. ParseError that says why there are too few."""
    versions = _core.gpu_versions()
    if not versions:
        raise ParseError("no GPU: this build has no GPU backend (CUDA, NCCL and cuDNN)")
    count = _core.count_gpus()
    if count == 0:
        raise ParseError(f"no GPU: CUDA finds none on this host ({versions})")
    if count < at_least:
        raise ParseError(f"no GPU for every rank: {at_least} are needed, this host has {count}")
    return count


def read_json_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def publish(result: dict[str, Any], lines: Iterable[str], json_file: str | None) -> None:
    """The table to stdout, unless the JSON goes there."""
    if json_file != "-":
        print("\n".join(lines))
    if json_file is not None:
        write_text(json_file, json.dumps(result, indent=1) + "\n")
