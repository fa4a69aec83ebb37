"""What all benchmarks need: GPUs, and somewhere for results to go."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from runflat import _core
from runflat._core import ParseError
from runflat.outputs import write_text


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


def driver_version() -> str:
    """Of the first GPU; empty where nvidia-smi does not say."""
    if shutil.which("nvidia-smi") is None:
        return ""
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    return subprocess.run(command, capture_output=True, text=True).stdout.partition("\n")[0]


def read_json_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def publish(result: dict[str, Any], lines: Iterable[str], json_file: str | None) -> None:
    """The table to stdout, unless the JSON goes there."""
    if json_file != "-":
        print("\n".join(lines))
    if json_file is not None:
        write_text(json_file, json.dumps(result, indent=1) + "\n")
