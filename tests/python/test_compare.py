"""`runflat compare`, and `runflat calibrate` of runs: what the simulator charges is what a run
took that took what the simulator charges."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import run_logs
import tomllib
from conftest import Run

import runflat
from runflat.recovery_fit import nonnegative_line

COSTS = {
    "detect_crash_seconds": 0.12,
    "detect_hang_seconds": 2.5,
    "quiesce_seconds": 0.03,
    "quiesce_pending_seconds": 0.0,
    "communicator_base_seconds": 0.02,
    "communicator_per_doubling_seconds": 0.015,
    "state_copy_base_seconds": 0.004,
    "warm_up_seconds": 0.22,
}


def plans(*overrides: str) -> tuple[runflat.Plan, runflat.Plan]:
    """A job, and the same with one GPU less."""
    scenario = runflat.load_scenario("small").with_overrides(list(overrides))
    return runflat.plan(scenario), runflat.plan(scenario, failed=[1])


def costs_file(folder: Path, costs: dict[str, Any]) -> Path:
    lines = (f"{key} = {json.dumps(value)}\n" for key, value in costs.items())
    path = folder / "costs.toml"
    path.write_text("[recovery]\n" + "".join(lines))
    return path


@pytest.fixture
def costs(tmp_path: Path) -> Path:
    return costs_file(tmp_path, COSTS)


def document(run: Run, *arguments: object) -> dict[str, Any]:
    done = run(*arguments, "--json", "-")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_run_that_goes_as_predicted_has_no_error(
    run_here: Run, tmp_path: Path, costs: Path
) -> None:
    old, new = plans()
    seconds = [json.loads(runflat.step(plan).text)["simulated_step_time_s"] for plan in (old, new)]
    run_logs.write(
        tmp_path / "run.jsonl",
        run_logs.header(old),
        *(run_logs.step(i, seconds[0] * slow) for i, slow in ((1, 9.0), (2, 1.0), (3, 1.0))),
        *run_logs.recovery(old, new, costs),
        run_logs.step(4, seconds[1]),
        {"something": "else"},
        *run_logs.recovery(new, old, costs, cause="join"),
    )
    compared = document(run_here, "compare", "run.jsonl", "--recovery", costs)
    assert [stretch["num_steps"] for stretch in compared["steps"]] == [3, 1]
    for stretch in compared["steps"]:
        assert stretch["predicted_s"] == pytest.approx(stretch["measured_s"], rel=1e-9)
    lost, joined = compared["recoveries"]
    assert (lost["cause"], lost["step"], lost["bytes_moved"]) == ("exit", 4, 12)
    for recovery, missing in ((lost, {"redo"}), (joined, {"redo", "detect"})):
        spans = {span["span"]: span for span in recovery["spans"]}
        assert {name for name in spans if spans[name]["measured_s"] is None} == missing
        for name in spans.keys() - missing - {"total"}:
            assert spans[name]["predicted_s"] == pytest.approx(spans[name]["measured_s"], rel=1e-9)
    half_step = lost["spans"][-2]["predicted_s"]
    assert half_step == pytest.approx(seconds[0] / 2)
    total = lost["spans"][-1]
    assert total["predicted_s"] == pytest.approx(total["measured_s"] + half_step)
    table = run_here("compare", "run.jsonl", "--recovery", costs).stdout
    assert "communicators" in table
    assert "+0 %" in table


def test_steps_on_cpus_have_no_prediction_unless_parameters_are_given(
    run: Run, tmp_path: Path
) -> None:
    settings = ("--set=training.train_iters=3", "--set=training.precision=bf16")
    done = run("train", "tiny-gpt-mock", *settings, "--log", "run.jsonl")
    assert done.returncode == 0, done.stderr
    [steps] = document(run, "compare", "run.jsonl")["steps"]
    assert (steps["num_steps"], steps["num_ranks"], steps["predicted_s"]) == (3, 4, None)
    assert steps["measured_s"] > 0
    hardware = Path(__file__).parents[2] / "sim/hardware/h100_nemo-25.04.toml"
    [steps] = document(run, "compare", "run.jsonl", "--hardware", hardware)["steps"]
    assert steps["predicted_s"] > 0


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"step": 2, "loss"', "not JSON"),
        ("[1]", "expected a JSON object"),
        ('{"step": 2}', "has no step_time_ms"),
        ('{"step": 2, "step_time_ms": "fast"}', "step_time_ms: expected a number"),
        ('{"step": 2, "step_time_ms": NaN}', "step_time_ms: expected a number"),
        ('{"plan": {}}', "schema"),
        ('{"recovery": 3}', "spans_ms"),
        ('{"recovery": {"spans_ms": {}}}', "has no generation"),
    ],
)
def test_a_broken_line_is_named(run_here: Run, tmp_path: Path, line: str, reason: str) -> None:
    old, _ = plans()
    path = run_logs.write(tmp_path / "run.jsonl", run_logs.header(old), run_logs.step(1, 0.1))
    path.write_text(path.read_text() + line + "\n")
    done = run_here("compare", "run.jsonl")
    assert done.returncode == 2
    assert done.stderr.startswith("runflat: run.jsonl: line 3: ")
    assert reason in done.stderr
    assert done.stderr.count("\n") == 1


def test_what_is_no_log_is_named(run_here: Run, tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").write_text("")
    run_logs.write(tmp_path / "headless.jsonl", run_logs.step(1, 0.1))
    for name, reason in (("empty", "is empty"), ("headless", "line 1: expected the header")):
        done = run_here("compare", f"{name}.jsonl")
        assert done.returncode == 2
        assert reason in done.stderr


@pytest.mark.parametrize(
    ("domain", "rate"),
    [("cluster.domain_size=64", {"nvlink_copy_GBps": 150.0}), ("", {"state_copy_GBps": 5.0})],
)
def test_calibration_finds_the_costs_of_runs_of_several_sizes(
    run_here: Run, tmp_path: Path, domain: str, rate: dict[str, float]
) -> None:
    costs = costs_file(tmp_path, {**COSTS, **rate})
    domains = [domain] if domain else []
    logs = []
    for size in ("layout.data_parallel_size=2", "layout.data_parallel_size=4"):
        for layers in (32, 16):
            old, new = plans(*domains, size, f"model.num_layers={layers}")
            records = [run_logs.recovery(old, new, costs, cause) for cause in ("exit", "hang")]
            lines = [run_logs.header(old), *records[0], run_logs.header(old), *records[1]]
            logs.append(run_logs.write(tmp_path / f"{len(logs)}.jsonl", *lines))
    done = run_here("calibrate", *logs)
    assert done.returncode == 0, done.stderr
    found = tomllib.loads(done.stdout)["recovery"]
    assert found.pop("communicators") == "shrink"
    assert found == pytest.approx({**COSTS, **rate}, rel=1e-6)


def test_one_size_keeps_the_published_growth(run_here: Run, tmp_path: Path, costs: Path) -> None:
    old, new = plans()
    log = run_logs.write(
        tmp_path / "run.jsonl", run_logs.header(old), *run_logs.recovery(old, new, costs)
    )
    done = run_here("calibrate", log, "-o", "recovery.toml")
    assert done.returncode == 0, done.stderr
    assert "communicator_base_seconds: 1 points" in done.stderr
    found = tomllib.loads((tmp_path / "recovery.toml").read_text())["recovery"]
    ratio = found["communicator_per_doubling_seconds"] / found["communicator_base_seconds"]
    assert ratio == pytest.approx(0.132 / 0.69)
    [recovery] = document(run_here, "compare", log, "--recovery", "recovery.toml")["recoveries"]
    for span in recovery["spans"][:-2]:
        assert span["predicted_s"] == pytest.approx(span["measured_s"], rel=1e-9), span


def test_whatif_takes_the_costs_of_a_run(run_here: Run, tmp_path: Path, costs: Path) -> None:
    old, new = plans()
    log = run_logs.write(
        tmp_path / "run.jsonl", run_logs.header(old), *run_logs.recovery(old, new, costs)
    )
    assert run_here("calibrate", log, "-o", "recovery.toml").returncode == 0
    found = tomllib.loads((tmp_path / "recovery.toml").read_text())["recovery"]
    few = ("whatif", "small", "--policies", "ntp,dp_drop", "--trials", "3")
    measured = document(run_here, *few, "--set", "recovery.toml")
    assert measured == document(
        run_here, *few, *(f"--set=recovery.{key}={value}" for key, value in found.items())
    )
    published = document(run_here, *few)
    for new_row, old_row in zip(measured["policies"], published["policies"], strict=True):
        for cause in ("detection", "recovery"):
            assert new_row["lost_gpu_hours"][cause] < old_row["lost_gpu_hours"][cause]


def test_runs_without_recoveries_calibrate_nothing(run_here: Run, tmp_path: Path) -> None:
    old, _ = plans()
    log = run_logs.write(tmp_path / "run.jsonl", run_logs.header(old), run_logs.step(1, 0.1))
    done = run_here("calibrate", log)
    assert done.returncode == 2
    assert "no recovery in place" in done.stderr
    assert run_here("calibrate", log, "measured.json").returncode == 2


def test_a_line_through_points_is_exact_and_never_falls_below_zero() -> None:
    assert nonnegative_line([(1, 5), (2, 7), (4, 11)]) == pytest.approx((3, 2))
    assert nonnegative_line([(1, 3), (2, 1)]) == pytest.approx((2, 0))  # falling: the mean
    assert nonnegative_line([(1, 1), (2, 4)]) == pytest.approx((0, 9 / 5))  # sum xy / sum xx
