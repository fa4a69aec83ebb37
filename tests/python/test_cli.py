"""The installed command, run as a person runs it."""

from __future__ import annotations

import json
import signal
import stat
import subprocess
from pathlib import Path

import pytest
from conftest import COMMAND, Run

import runflat

OUTPUTS = {
    "result.json",
    "report.html",
    "goodput_over_time.png",
    "loss_vs_failed_fraction.png",
    "loss_by_cause.png",
}
FEW = ("--trials", "2")


def test_version_is_printed(run: Run) -> None:
    assert run("--version").stdout == f"runflat {runflat.__version__}\n"


def test_without_arguments_the_command_explains_itself(run: Run) -> None:
    done = run()
    assert "whatif" in done.stdout + done.stderr
    assert "plan" in done.stdout + done.stderr


def test_the_table_goes_to_stdout_and_progress_to_stderr(run: Run) -> None:
    done = run("whatif", "small", *FEW, "--policies", "restart,ntp")
    assert done.returncode == 0, done.stderr
    rows = [line.split()[0] for line in done.stdout.splitlines() if line]
    assert rows.count("restart") == 1 and rows.count("ntp") == 1
    assert "GPU-hours lost by cause" in done.stdout
    assert "simulating" in done.stderr
    assert max(map(len, done.stdout.splitlines())) <= 100


def test_out_holds_the_result_the_figures_and_the_report(run: Run, tmp_path: Path) -> None:
    done = run("whatif", "small", *FEW, "--out", "new/out")
    assert done.returncode == 0, done.stderr
    assert {file.name for file in (tmp_path / "new/out").iterdir()} == OUTPUTS
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["out"]


def test_out_may_be_there_already(run: Run, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/notes.txt").write_text("mine")
    assert run("whatif", "small", *FEW, "--out", "out").returncode == 0
    assert {file.name for file in (tmp_path / "out").iterdir()} == OUTPUTS | {"notes.txt"}


def test_json_goes_to_a_file_or_alone_to_stdout(run: Run, tmp_path: Path) -> None:
    to_stdout = run("whatif", "small", *FEW, "--json", "-")
    assert run("whatif", "small", *FEW, "--json", "r.json").returncode == 0
    assert (tmp_path / "r.json").read_text() == to_stdout.stdout
    assert json.loads(to_stdout.stdout)["schema"] == 1


def test_json_to_a_device_leaves_the_device_alone(run: Run) -> None:
    assert run("whatif", "small", *FEW, "--json", "/dev/null").returncode == 0
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)


def test_the_same_seed_gives_the_same_bytes_whatever_the_threads(run: Run) -> None:
    results = {
        run("whatif", "small", "--trials", "5", "--threads", threads, "--json", "-").stdout
        for threads in (1, 2, 3)
    }
    assert len(results) == 1
    other_seed = run("whatif", "small", "--trials", "5", "--seed", "2", "--json", "-").stdout
    assert other_seed not in results


def test_the_outputs_are_the_same_bytes_too(run: Run, tmp_path: Path) -> None:
    for folder in ("a", "b"):
        assert run("whatif", "small", *FEW, "--out", folder).returncode == 0
    for name in OUTPUTS - {"report.html"}:  # the report quotes the command, and so the folder
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name


def test_an_interrupt_ends_the_run_at_once_and_writes_nothing(tmp_path: Path) -> None:
    command = [COMMAND, "whatif", "small", "--trials", "8000", "--out", "out"]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == "simulating: 2000/8000\n"
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "arguments",
    [
        ("whatif",),
        ("whatif", "small", "--trials", "0"),
        ("whatif", "small", "--trials", "many"),
        ("whatif", "small", "--trials", "1000000000000"),
        ("whatif", "small", "--seed", "99999999999999999999"),
        ("whatif", "small", "--colour", "red"),
        ("whatif", "small", "--policies", "ntp,hope"),
        ("whatif", "small", "--set", "cluster"),
        ("whatif", "small", "--json", "no/such/folder/r.json"),
        ("plan", "small", "--failed", "1,x"),
        ("plan", "small", "--policy", "hope"),
        ("fly",),
    ],
    ids=" ".join,
)
def test_wrong_usage_is_one_line_and_status_2(
    run: Run, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    done = run(*arguments)
    errors = [line for line in done.stderr.splitlines() if not line.startswith("simulating")]
    assert done.returncode == 2
    assert len(errors) == 1 and errors[0].startswith("runflat: ")
    assert done.stdout == ""
    assert list(tmp_path.iterdir()) == []
