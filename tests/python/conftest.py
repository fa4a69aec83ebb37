"""What the tests share: the installed command, and one result of the scenario `small`."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import runflat

COMMAND = Path(sys.executable).with_name("runflat")
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs `runflat ARGUMENTS...` in an empty folder and gives what it printed and its status."""

    def run_command(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [str(COMMAND), *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=120)

    return run_command


@pytest.fixture(scope="session")
def small_result() -> runflat.Result:
    return runflat.what_if("small", trials=4, seed=7)
