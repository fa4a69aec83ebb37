"""Where tables are printed."""

from __future__ import annotations

import sys

from rich.console import Console

_PIPE_WIDTH = 100


def stdout_console() -> Console:
    """As wide as the terminal; a fixed width in a pipe, so that outputs compare."""
    return Console(width=None if sys.stdout.isatty() else _PIPE_WIDTH, highlight=False)
