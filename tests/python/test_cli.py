"""The installed command, run as a person runs it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import runflat

COMMAND = Path(sys.executable).with_name("runflat")


def test_version_is_printed() -> None:
    done = subprocess.run([COMMAND, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"runflat {runflat.__version__}\n"
