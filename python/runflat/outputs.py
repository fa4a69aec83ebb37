"""Output files that appear whole or not at all."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory


@contextmanager
def new_folder_contents(folder: Path) -> Iterator[Path]:
    """Gives a temporary folder; its files move into `folder` when the block succeeds."""
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
    home = folder if folder.is_dir() else folder.parent
    with TemporaryDirectory(prefix=f".{folder.name}-", dir=home) as name:
        fresh = Path(name)
        yield fresh
        folder.mkdir(exist_ok=True)
        for file in sorted(fresh.iterdir()):
            os.replace(file, folder / file.name)


def write_text(target: str | Path, text: str) -> None:
    """Writes a file in one step; `-` is stdout."""
    if str(target) == "-":
        sys.stdout.write(text)
        return
    path = Path(target).resolve()
    if not path.parent.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, "no such folder", str(Path(target).parent))
    if path.exists() and not path.is_file():
        path.write_text(text)  # a device or a pipe, which a rename would replace
        return
    with TemporaryDirectory(prefix=f".{path.name}-", dir=path.parent) as name:
        fresh = Path(name) / path.name
        fresh.write_text(text)
        os.replace(fresh, path)
