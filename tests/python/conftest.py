"""What the tests share: the installed command, one result of the scenario `small`, packed text."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from slurm_cluster import slurm_cluster

import runflat
from runflat.cli import main
from runflat.data_pack import pack

LICENSES = Path("/usr/share/common-licenses")  # on any Debian
COMMAND = Path(sys.executable).with_name("runflat")
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs `runflat ARGUMENTS...` in an empty folder and gives what it printed and its status."""

    def run_command(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [str(COMMAND), *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=120)

    return run_command


@pytest.fixture
def run_here(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Run:
    """The same in this process, which saves the start; not for commands that become another."""
    monkeypatch.chdir(tmp_path)

    def run_command(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = ["runflat", *map(str, arguments)]
        monkeypatch.setattr(sys, "argv", command)
        with pytest.raises(SystemExit) as ended:
            main()
        return subprocess.CompletedProcess(command, ended.value.code, *capsys.readouterr())

    return run_command


@pytest.fixture(scope="session")
def small_result() -> runflat.Result:
    return runflat.what_if("small", trials=4, seed=7)


@pytest.fixture(scope="session")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not LICENSES.is_dir():
        pytest.skip("no Debian licences to train on")
    folder = tmp_path_factory.mktemp("packed")
    pack([LICENSES], folder / "text", append_eod=True)
    return folder


@pytest.fixture
def text(packed: Path, tmp_path: Path) -> None:
    """The data of the configurations on real text, as `text` in the test's folder."""
    for file in packed.iterdir():
        (tmp_path / file.name).symlink_to(file)


@pytest.fixture(scope="session")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment of commands for a Slurm cluster of one node, or skips."""
    with slurm_cluster(tmp_path_factory.mktemp("slurm")) as environment:
        yield environment
