"""Bad input: one line that names the file and the key path, status 2, and nothing written."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from conftest import Run

import runflat

TRACE_HEADER = "start_day,end_day,node,level,class,desc\n"


def complaint(done: subprocess.CompletedProcess[str], tmp_path: Path, given: set[str]) -> str:
    """The one line on stderr, after checking that nothing else came of the run."""
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    assert done.stdout == ""
    assert {file.name for file in tmp_path.iterdir()} == given
    assert lines[0].startswith("runflat: ")
    return lines[0].removeprefix("runflat: ")


@pytest.mark.parametrize(
    ("assignment", "key_path", "expected"),
    [
        ("cluster.colour=1", "cluster", "colour"),
        ("cluster.num_nodes=many", "cluster.num_nodes", "expected an integer"),
        ("cluster.num_nodes=-8", "cluster.num_nodes", "expected an integer"),
        ("failures.class.0.rate_per_1000_node_days=-1", "rate_per_1000_node_days", "expected"),
        ("failures.class.0.repair.mean_hours=-1", "mean_hours", "expected"),
        ("failures.class.0.blast_radius=city", "failures.class", "gpu"),
        ("layout.tensor_model_parallel_size=16", "layout", "larger than the NVLink domain"),
        ("model.num_attention_heads=30", "", "divisible"),
        ("training.global_batch_size=127", "training", "divisible"),
        ("layout.data_parallel_size=400", "layout", "room"),
        ("duration_days=0", "duration", "above 0"),
        ("schema=2", "schema", "schema 1"),
        ("policies.hope.spare_domains=1", "policies", "hope"),
    ],
    ids=lambda value: value,
)
def test_a_wrong_value_is_named_with_its_path(
    run: Run, tmp_path: Path, assignment: str, key_path: str, expected: str
) -> None:
    for command in (("whatif", "--out", "out", "--json", "r.json"), ("plan", "-o", "plan.json")):
        done = run(command[0], "small", "--set", assignment, *command[1:])
        assert done.returncode == 2
        line = complaint(done, tmp_path, set())
        assert line.split(": ")[0].endswith("small.toml")
        assert key_path in line and expected in line


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("bad.toml", "schema = 1\nname = 'x\n", "line 2"),
        ("bad.toml", "", "schema: is missing"),
        ("bad.toml", "[cluster]\n[cluster]\n", "bad.toml"),
        ("bad.json", "{", "bad.json"),
        ("bad.txt", "schema = 1", ".toml"),
        ("bad.toml", "name = '\ufffe\x01'", "bad.toml"),
    ],
)
def test_a_file_that_is_not_well_formed_is_named(
    run: Run, tmp_path: Path, name: str, text: str, expected: str
) -> None:
    (tmp_path / name).write_text(text)
    done = run("whatif", name, "--out", "out")
    assert done.returncode == 2
    line = complaint(done, tmp_path, {name})
    assert line.startswith(name) and expected in line


@pytest.mark.parametrize("name", ["missing.toml", "folder.toml", "nosuchscenario"])
def test_an_unreadable_scenario_is_named(run: Run, tmp_path: Path, name: str) -> None:
    (tmp_path / "folder.toml").mkdir()
    done = run("whatif", name, "--out", "out")
    assert done.returncode == 2
    assert complaint(done, tmp_path, {"folder.toml"}).startswith(name)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (TRACE_HEADER + "3.0,2.0,1,hardware,GPU,x\n", "row 2"),
        (TRACE_HEADER + "1.0,2.0,1,hardware,GPU,x\n1.0,soon,1,hardware,GPU,x\n", "row 3"),
        (TRACE_HEADER + "1.0,2.0,8,hardware,GPU,x\n", "row 2"),
        (TRACE_HEADER + "1.0,2.0,1\n", "row 2"),
        ("when,where\n", "row 1"),
        ("", "trace.csv"),
    ],
)
def test_a_wrong_row_of_a_trace_is_named(
    run: Run, tmp_path: Path, text: str, expected: str
) -> None:
    (tmp_path / "trace.csv").write_text(text)
    done = run("whatif", "small", "--trace", "trace.csv", "--out", "out")
    assert done.returncode == 2
    line = complaint(done, tmp_path, {"trace.csv"})
    assert line.startswith("trace.csv") and expected in line


def test_a_missing_trace_is_named(run: Run, tmp_path: Path) -> None:
    done = run("whatif", "small", "--trace", "nowhere.csv", "--out", "out")
    assert done.returncode == 2
    assert complaint(done, tmp_path, set()).startswith("nowhere.csv")


def test_a_good_trace_is_replayed_once(run: Run, tmp_path: Path) -> None:
    (tmp_path / "trace.csv").write_text(TRACE_HEADER + "1.0,2.0,1,hardware,GPU,x\n")
    scenario = runflat.load_scenario("small")
    result = runflat.what_if(scenario, policies=["ntp"], trace=tmp_path / "trace.csv")
    assert result.document["trials"] == 1
    gpu_hours_down = result.document["policies"][0]["lost_gpu_hours"]["failed"]
    assert gpu_hours_down == pytest.approx(24 * scenario.cluster.gpus_per_node, rel=1e-3)


def test_faults_on_demand_are_replayed(tmp_path: Path) -> None:
    def result(fault: str) -> dict[str, Any]:
        (tmp_path / "faults.toml").write_text(f"schema = 1\n[[fault]]\n{fault}\n")
        found = runflat.what_if("small", policies=["ntp"], trace=tmp_path / "faults.toml")
        return found.document["policies"][0]

    lost = result('kind = "kill"\nrank = 9\nstep = 20\nrepair_steps = 1000')
    hours = 1000 * lost["step_time_s"] / 3600
    assert lost["lost_gpu_hours"]["failed"] == pytest.approx(hours, rel=1e-3)
    calm = result('kind = "slow"\nrank = 9\ntime_s = 60\nseconds = 1e-3')
    assert calm["lost_gpu_hours"]["failed"] == 0


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ('kind = "kill"\nrank = 64\nstep = 2', "kill rank=64 step=2 at=op index=0: rank"),
        ('kind = "melt"\nrank = 3\nstep = 2', "faults.toml: fault.0.kind"),
        ('kind = "kill"\nrank = 3\nstep = 2\ntime_s = 3', "faults.toml: fault.0"),
    ],
)
def test_a_fault_that_cannot_be_replayed_is_named(
    run: Run, tmp_path: Path, fault: str, reason: str
) -> None:
    (tmp_path / "faults.toml").write_text(f"schema = 1\n[[fault]]\n{fault}\n")
    done = run("whatif", "small", "--trace", "faults.toml", "--out", "out")
    assert done.returncode == 2
    assert complaint(done, tmp_path, {"faults.toml"}).startswith(reason)


@pytest.mark.parametrize(
    ("arguments", "advice"),
    [
        (("plan", "small", "--failed", "0-63", "-o", "plan.json"), "repair"),
        (
            ("whatif", "small", "--set", "model.hidden_size=65536", "--out", "out"),
            "TP or PP degree",
        ),
    ],
    ids=["plan", "whatif"],
)
def test_no_feasible_plan_is_status_3_and_a_reason_to_act_on(
    run: Run, tmp_path: Path, arguments: tuple[str, ...], advice: str
) -> None:
    done = run(*arguments)
    assert done.returncode == 3, done.stderr
    assert advice in complaint(done, tmp_path, set())
