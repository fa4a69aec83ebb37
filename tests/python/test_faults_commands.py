"""`runflat faults`, run as a person runs it."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from conftest import Run

MODEL = """
schema = 1
[cluster]
num_nodes = 200
gpus_per_node = 8
[failures]
node_rate_shape = 1.5
[[failures.class]]
name = "gpu, hot"
blast_radius = "node"
rate_per_1000_node_days = 5
arrival_shape = 0.8
repair = { kind = "weibull", shape = 0.6, scale_hours = 30 }
refault = { probability = 0.3, delay = { kind = "lognormal", median_hours = 3, sigma = 1.5 } }
batches = { sizes = [20, 3, 1], within_seconds = 60 }
"""


@pytest.fixture
def model(tmp_path: Path) -> Path:
    file = tmp_path / "model.toml"
    file.write_text(MODEL)
    return file


def test_a_sampled_trace_is_fitted_with_the_model_inside_the_intervals(
    run: Run, model: Path, tmp_path: Path
) -> None:
    sampled = run("faults", "sample", model, "--days", 700, "--seed", 4, "-o", "trace.csv")
    assert sampled.returncode == 0, sampled.stderr
    with (tmp_path / "trace.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert 500 < len(rows) < 900
    assert {row["class"] for row in rows} == {"gpu, hot"}
    done = run(
        "faults", "fit", "trace.csv", "--nodes", 200, "--days", 700,
        "-o", "faults.toml", "--json", "fit.json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "refault.probability" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 100
    truth = {
        "node_rate_shape": 1.5,
        "refault.probability": 0.3,
        "gpu, hot: arrival_shape": 0.8,
        "gpu, hot: mean_batch": 29 / 24,
        "gpu, hot: rate_per_1000_node_days": 5.0,
        "gpu, hot: repair.shape": 0.6,
    }
    found = {
        item["name"]: item for item in json.loads((tmp_path / "fit.json").read_text())["parameters"]
    }
    inside = [found[name]["low"] <= value <= found[name]["high"] for name, value in truth.items()]
    assert sum(inside) >= len(truth) - 1  # each 95 % of the time
    assert "num_nodes = 200\n" in (tmp_path / "faults.toml").read_text()
    again = run("faults", "sample", "faults.toml", "--days", 10)
    assert again.returncode == 0, again.stderr
    assert again.stdout.startswith("start_day,end_day,")


def test_a_scenario_is_sampled_and_the_trace_replayed(run: Run) -> None:
    assert run("faults", "sample", "small", "--days", 30, "-o", "t.csv").returncode == 0
    done = run("whatif", "small", "--trials", 1, "--trace", "t.csv", "--policies", "ntp")
    assert done.returncode == 0, done.stderr


def test_the_same_seed_samples_the_same_bytes(run: Run, model: Path) -> None:
    def sample(seed: int) -> str:
        return run("faults", "sample", model, "--days", 100, "--seed", seed).stdout

    assert sample(1) == sample(1)
    assert sample(1) != sample(2)


def test_bad_input_is_one_line_and_status_2(run: Run, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("start_day,end_day,node\n1,2,3\n")
    (tmp_path / "bad.csv").write_text("start_day,end_day,node\n1,2,300\n")
    (tmp_path / "late.csv").write_text("start_day,end_day,node\n" + "12,12,1\n" * 20)
    (tmp_path / "bad.toml").write_text("schema = 1\n[cluster]\nnum_nodes = 0\n")
    cases = {
        "at least 10 faults": ("fit", "t.csv", "--nodes", 200),
        "row 2": ("fit", "bad.csv", "--nodes", 200),
        "after the 8 days observed": ("fit", "late.csv", "--nodes", 200, "--days", 8),
        "no.csv": ("fit", "no.csv", "--nodes", 200),
        "cluster.num_nodes": ("sample", "bad.toml", "--days", 3),
        "no.toml": ("sample", "no.toml", "--days", 3),
        "nodes": ("fit", "t.csv"),
    }
    for expected, arguments in cases.items():
        done = run("faults", *arguments)
        assert done.returncode == 2, arguments
        assert expected in done.stderr, done.stderr
        assert len(done.stderr.splitlines()) == 1
