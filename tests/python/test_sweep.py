"""Sweeps: grids, the table, executors, infeasible points, bad input, and a kill."""

from __future__ import annotations

import csv
import io
import json
import signal
import subprocess
import time
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest
from conftest import COMMAND, Run

import runflat
from runflat.grid import axes_of, parse_axis

VARY = ["failures.scale=50,200", "layout.data_parallel_size=2,4"]
SETTINGS = {"policies": ["dp_drop", "ntp"], "trials": 3, "seed": 5}


@pytest.fixture(scope="module")
def small_sweep() -> runflat.Sweep:
    return runflat.sweep("small", VARY, **SETTINGS)


def test_axes_are_lists_or_ranges() -> None:
    assert parse_axis("a.b=8,16,32").values == (8, 16, 32)
    assert parse_axis("a=1:1000:log:4").texts == ("1", "10", "100", "1000")
    assert parse_axis("a=0:1:lin:5").values == (0, 0.25, 0.5, 0.75, 1)
    assert len(parse_axis("a=1:10:log").values) == 5
    assert parse_axis("a=bf16,fp8").values == ("bf16", "fp8")
    assert parse_axis("a=[1,2],[3]").texts == ("[1,2]", "[3]")
    assert axes_of({"a": [True, False], "b": "1:2:lin:2"})[0].texts == ("true", "false")


@pytest.mark.parametrize(
    "vary",
    [
        ["a"],
        ["a="],
        ["=1"],
        ["a=1,,2"],
        ["a=1,1"],
        ["a=1,b"],
        ["a=1", "a=2"],
        ["a=0:10:log:3"],
        ["a=1:10:log:1"],
        ["a=0:1:lin:1000", "b=0:1:lin:1000"],
        [],
        {"a": 3},
    ],
)
def test_axes_that_make_no_grid_are_refused(vary: list[str]) -> None:
    with pytest.raises(runflat.ParseError, match=r"^--vary"):
        axes_of(vary)


def test_every_point_is_the_what_if_of_its_scenario(small_sweep: runflat.Sweep) -> None:
    assert [tuple(point.values.values()) for point in small_sweep.points] == [
        (50, 2),
        (50, 4),
        (200, 2),
        (200, 4),
    ]
    overrides = ["failures.scale=200", "layout.data_parallel_size=2"]
    alone = runflat.what_if(runflat.load_scenario("small", overrides), **SETTINGS)
    point = small_sweep.points[2].document
    assert point["policies"] == alone.document["policies"]
    assert point["differences"] == alone.document["differences"]


def test_the_table_has_a_row_per_point_and_policy(small_sweep: runflat.Sweep) -> None:
    rows = list(csv.DictReader(io.StringIO(small_sweep.to_csv())))
    assert [row["policy"] for row in rows] == ["dp_drop", "ntp"] * 4
    for row in rows:
        assert row["status"] == "ok"
        lost, total = float(row["lost_gpu_hours"]), float(row["total_gpu_hours"])
        assert lost + float(row["useful_gpu_hours"]) == pytest.approx(total)
        causes = [name for name in row if name.startswith("lost_") and name != "lost_gpu_hours"]
        by_cause = (float(row[name]) for name in causes if name.endswith("_gpu_hours"))
        assert sum(by_cause) == pytest.approx(lost)
    drop, ntp = rows[0], rows[1]
    assert float(ntp["goodput_fraction_gain"]) == pytest.approx(
        float(ntp["goodput_fraction"]) - float(drop["goodput_fraction"])
    )
    assert set(small_sweep.frame()) == set(rows[0])


def test_a_point_that_cannot_run_is_a_row_with_the_reason() -> None:
    found = runflat.sweep("small", {"layout.data_parallel_size": [4, 64]}, **SETTINGS)
    assert found.columns["status"] == ["ok", "ok", "infeasible"]
    assert "TP groups" in found.columns["reason"][2]
    assert found.columns["policy"][2] is None


def test_memory_that_does_not_suffice_is_a_reason_too() -> None:
    vary = {"model.num_layers": [32, 640]}
    found = runflat.sweep("small", vary, **SETTINGS)
    assert found.columns["status"] == ["ok", "ok", "infeasible"]
    assert "GB" in found.columns["reason"][2]


def test_processes_give_the_same_table(small_sweep: runflat.Sweep) -> None:
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as executor:
        found = runflat.sweep("small", VARY, executor=executor, **SETTINGS)
    assert found.to_csv() == small_sweep.to_csv()


def test_a_dask_cluster_gives_the_same_table(small_sweep: runflat.Sweep) -> None:
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=None
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        found = runflat.sweep("small", VARY, executor=client.get_executor(), **SETTINGS)
    assert found.to_csv() == small_sweep.to_csv()


class Breaking(Executor):
    """Runs the first tasks and fails the others."""

    def __init__(self, num_good: int) -> None:
        self.num_good = num_good
        self.num_run = 0

    def submit(self, task, /, *arguments: object) -> Future:
        future: Future = Future()
        if self.num_run < self.num_good:
            self.num_run += 1
            future.set_result(task(*arguments))
        else:
            future.set_exception(RuntimeError("the machine is gone"))
        return future


def test_points_that_are_finished_are_not_run_again(
    tmp_path: Path, small_sweep: runflat.Sweep
) -> None:
    with pytest.raises(RuntimeError, match="gone"):
        runflat.sweep("small", VARY, executor=Breaking(2), folder=tmp_path, **SETTINGS)
    num_kept = len(list((tmp_path / "points").iterdir()))
    rest = Breaking(4)
    done: list[tuple[int, int]] = []
    found = runflat.sweep(
        "small",
        VARY,
        executor=rest,
        folder=tmp_path,
        resume=True,
        progress=lambda *count: done.append(count),
        **SETTINGS,
    )
    assert rest.num_run == 4 - num_kept
    assert done[-1] == (4, 4)
    assert found.to_csv() == small_sweep.to_csv()
    other = Breaking(4)
    again = {**SETTINGS, "seed": 6}
    runflat.sweep("small", VARY, executor=other, folder=tmp_path, resume=True, **again)
    assert other.num_run == 4  # another seed is another point


def test_a_killed_sweep_loses_no_finished_point(tmp_path: Path, run: Run) -> None:
    arguments = ["sweep", "small", "--vary", "failures.scale=1:400:log:60", "--trials", "300"]
    arguments += ["--policies", "ntp,dp_drop", "--out", "out"]
    victim = subprocess.Popen(
        [str(COMMAND), *arguments],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    points = tmp_path / "out" / "points"
    deadline = time.monotonic() + 60
    while len(list(points.glob("*.json"))) < 3 and time.monotonic() < deadline:
        time.sleep(0.005)
    victim.send_signal(signal.SIGKILL)
    assert victim.wait() == -signal.SIGKILL
    finished = {file: file.stat().st_mtime_ns for file in points.glob("*.json")}
    assert 3 <= len(finished) < 60
    assert all(json.loads(file.read_text()) for file in finished)
    assert not (tmp_path / "out" / "sweep.csv").exists()

    refused = run(*arguments)
    assert refused.returncode == 2
    assert "--resume" in refused.stderr
    done = run(*arguments, "--resume")
    assert done.returncode == 0
    assert {file: file.stat().st_mtime_ns for file in finished} == finished
    assert len(list(points.glob("*.json"))) == 60
    assert len((tmp_path / "out" / "sweep.csv").read_text().splitlines()) == 1 + 60 * 2


def test_the_command_writes_tables_and_a_figure(tmp_path: Path, run: Run) -> None:
    vary = ("--vary", "layout.data_parallel_size=2,4", "--vary", "failures.scale=1:100:log:3")
    done = run("sweep", "small", *vary, "--trials", 2, "--policies", "ntp,dp_drop", "--out", "out")
    assert done.returncode == 0
    assert "sweeping: 6/6" in done.stderr
    names = {file.name for file in (tmp_path / "out").iterdir()}
    assert names == {"points", "sweep.json", "sweep.csv", "sweep.parquet", "goodput.png"}
    parquet = pytest.importorskip("pyarrow.parquet")
    table = parquet.read_table(tmp_path / "out" / "sweep.parquet").to_pydict()
    rows = list(csv.reader((tmp_path / "out" / "sweep.csv").open()))
    assert list(table) == rows[0]
    assert len(table["policy"]) == len(rows) - 1 == 12
    place = rows[0].index("goodput_fraction")
    assert [float(row[place]) for row in rows[1:]] == table["goodput_fraction"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--vary", "no.such.key=1,2"], "no"),
        (["--vary", "layout.tensor_model_parallel_size=x"], "an integer"),
        (["--vary", "failures.scale"], "--vary"),
        (["--vary", "failures.scale=1,2", "--policies", "nothing"], "nothing"),
        (["--vary", "failures.scale=1,2", "--resume"], "--out"),
        (["--vary", "failures.scale=1,2", "--set", "cluster.gpu=abacus"], "abacus"),
        ([], "vary"),
    ],
)
def test_bad_input_is_one_line(run: Run, arguments: list[str], words: str) -> None:
    done = run("sweep", "small", *arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert words in done.stderr
