"""Where the agents of a launched job meet."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from urllib.parse import urlsplit

from runflat._core import ParseError

REDIS = ("redis://", "rediss://")
_HINT = "as redis://:password@host:6379, or rediss:// for TLS"


def check_store(url: str | None, num_nodes: int) -> None:
    """ParseError for a store that not every node reaches, or that strangers may read or change.
    No message holds the password."""
    if url is None:
        return
    if url.startswith("dir:"):
        _check_directory(Path(url.removeprefix("dir:")), num_nodes)
    elif not url.startswith(REDIS):
        raise ParseError(f"--store: expected dir:/path, or {_HINT}")
    elif not urlsplit(url).password:
        raise ParseError(
            f"--store: a Redis server without a password lets anybody who reaches it change the "
            f"job: expected an address {_HINT}"
        )


def _check_directory(folder: Path, num_nodes: int) -> None:
    if num_nodes > 1:
        raise ParseError(
            f"--store dir:{folder}: is for one host, and the job is on {num_nodes} nodes: "
            f"expected a Redis server, {_HINT}"
        )
    if folder.exists() and folder.stat().st_mode & 0o077:
        raise ParseError(f"--store dir:{folder}: others can enter it: chmod go-rwx {folder}")


def store_lines(url: str | None, run: str) -> list[str]:
    """Shell that sets RUNFLAT_STORE for one run, whose name the shell fills in: no run sees what
    another left. A Redis address has a password, which a script takes from its environment."""
    if url is None:
        return []
    if not url.startswith(REDIS):
        return [f'export RUNFLAT_STORE={shlex.quote(url.rstrip("/"))}."{run}"']
    joint = "." if urlsplit(url).path.strip("/") else "/"
    return [
        ': "${RUNFLAT_STORE:?set it to the address of the Redis server, with its password}"',
        f'export RUNFLAT_STORE="${{RUNFLAT_STORE%/}}{joint}{run}"',
    ]


def environment_with(url: str | None) -> dict[str, str]:
    """For whoever runs the script."""
    return {**os.environ, "RUNFLAT_STORE": url} if url is not None else dict(os.environ)
