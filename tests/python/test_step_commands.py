"""`runflat step`, `validate` and `calibrate`, run as a person runs them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import Run

import runflat

GOLDEN = Path(__file__).parents[1] / "golden"


def test_a_step_is_priced_and_its_parts_sum_to_it(run: Run) -> None:
    done = run("step", "small", "--json", "-")
    assert done.returncode == 0, done.stderr
    step = json.loads(done.stdout)
    for replica in step["replicas"]:
        assert sum(replica["breakdown_s"].values()) == pytest.approx(replica["step_time_s"])
    assert step["simulated_step_time_s"] == pytest.approx(step["step_time_s"], rel=0.05)
    assert 0 < step["mfu"] < 1
    table = run("step", "small")
    assert "Where the time goes" in table.stdout and "Memory" in table.stdout
    assert max(map(len, table.stdout.splitlines())) <= 100


def test_a_plan_is_priced_like_the_scenario_that_made_it(run: Run) -> None:
    assert run("plan", "small", "-o", "plan.json").returncode == 0
    of_plan = json.loads(run("step", "plan.json", "--json", "-").stdout)
    of_scenario = json.loads(run("step", "small", "--json", "-").stdout)
    assert of_plan == of_scenario


def test_a_damaged_plan_shows_its_kinds_of_replica(run: Run) -> None:
    assert run("plan", "small", "--failed", "0", "-o", "plan.json").returncode == 0
    step = json.loads(run("step", "plan.json", "--json", "-").stdout)
    healthy, reduced = sorted(step["replicas"], key=lambda replica: -replica["tp"])
    assert healthy["tp_sync"] == reduced["tp"] < healthy["tp"]
    assert healthy["breakdown_s"]["reshard"] > 0 == reduced["breakdown_s"]["reshard"]


def test_the_timeline_is_a_chrome_trace_that_ends_with_the_step(run: Run, tmp_path: Path) -> None:
    assert run("step", "small", "--timeline", "t.json", "--json", "s.json").returncode == 0
    events = json.loads((tmp_path / "t.json").read_text())["traceEvents"]
    end = max(event["ts"] + event["dur"] for event in events if event["ph"] == "X")
    step = json.loads((tmp_path / "s.json").read_text())
    assert end / 1e6 == pytest.approx(step["simulated_step_time_s"], rel=1e-6)


def test_an_unknown_gpu_or_release_lists_the_known_ones(run: Run) -> None:
    for arguments in (("--release", "nope"), ("--set", "cluster.gpu=tpu")):
        done = run("step", "small", *arguments)
        assert done.returncode == 2
        assert "known: a100 megatron-2021" in done.stderr
        assert done.stderr.count("\n") == 1


def test_published_steps_validate_within_their_bounds(run: Run) -> None:
    for name, bound in (("sc21_table1.csv", 0.05), ("korthikanti_table5.csv", 0.035)):
        done = run("validate", GOLDEN / name, "--json", "-")
        assert done.returncode == 0, done.stderr
        document = json.loads(done.stdout)
        assert document["all"]["mape"] <= bound
        assert document["skipped"] == []
    table = run("validate", GOLDEN / "sc21_table1.csv", "--by", "model,hardware")
    assert "constant MFU" in table.stdout


def test_models_are_left_out_in_turn(run: Run) -> None:
    tables = (GOLDEN / "sc21_table1.csv", GOLDEN / "korthikanti_table5.csv")
    arguments = ("validate", *tables, "--leave-out", "model", "--by", "table")
    done = run(*arguments, "--json", "-")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert [group["name"] for group in document["groups"]] == [table.stem for table in tables]
    for group in document["groups"]:
        assert 0 < group["mape_fitted"] < group["mape_left_out"] < 0.1
    assert len(document["numbers"]) < document["num_rows"] / 4
    table = run(*arguments).stdout
    assert "model left out" in table and "gemm.efficiency" in table


def test_rows_that_cannot_be_predicted_are_listed(run: Run, tmp_path: Path) -> None:
    header, first, *_ = (GOLDEN / "sc21_table1.csv").read_text().splitlines()
    (tmp_path / "t.csv").write_text(f"{header}\n{first.replace('A100-SXM-80GB', 'TPU')}\n")
    done = run("validate", "t.csv")
    assert done.returncode == 0, done.stderr
    assert "1 rows not predicted" in done.stdout and "unknown GPU" in done.stdout


def test_calibration_writes_a_parameter_file(run: Run, tmp_path: Path) -> None:
    sizes = (1e8, 1e9, 1e10)
    measured = {
        "schema": 1,
        "gpu": "h100",
        "name": "mine",
        "stream": [{"bytes": size, "kernels": 1, "seconds": size / 3e12 + 4e-6} for size in sizes],
    }
    (tmp_path / "m.json").write_text(json.dumps(measured))
    done = run("calibrate", "m.json", "-o", "params.toml")
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "params.toml").read_text()
    assert 'release = "mine"' in text
    assert f"efficiency = {3000 / 3350:.6g}" in text


@pytest.mark.parametrize(
    "arguments",
    [
        ("step", "nothing"),
        ("step", "no.json"),
        ("step", "small", "--timeline", "no/such/folder/t.json"),
        ("validate", "no.csv"),
        ("validate", str(GOLDEN / "sc21_table1.csv"), "--by", "colour"),
        ("validate", str(GOLDEN / "sc21_table1.csv"), "--leave-out", "colour"),
        ("validate", str(GOLDEN / "korthikanti_memory.txt")),
        ("calibrate", "no.json"),
        ("calibrate", str(GOLDEN / "sc21_table1.csv")),
    ],
    ids=" ".join,
)
def test_wrong_input_is_one_line_and_status_2(run: Run, arguments: tuple[str, ...]) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1 and done.stderr.startswith("runflat: ")


def test_the_python_api_prices_a_plan() -> None:
    step = runflat.step(runflat.plan("small"))
    assert json.loads(step.text)["schema"] == 1
    assert step.timeline.startswith("{")
