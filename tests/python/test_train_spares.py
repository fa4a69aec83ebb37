"""`runflat train` with spare domains: they take over, come and go; without them a job may wait."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from test_train import children
from training import read_log, started

pytestmark = pytest.mark.usefixtures("text")

LAYOUT = "tensor_model_parallel_size = 2, data_parallel_size = 2"


def recoveries(path: Path) -> list[dict[str, Any]]:
    """Each with the plan that followed."""
    records = [json.loads(line) for line in path.read_text().splitlines()]
    found = [i for i, record in enumerate(records) if "recovery" in record]
    return [{**records[i]["recovery"], "plan": records[i + 1]["plan"]} for i in found]


def groups(plan: dict[str, Any]) -> list[list[int]]:
    return [cell["gpus"] for cell in plan["layout"]["cells"]]


def wait_for_recovery(process: subprocess.Popen[str]) -> None:
    while "recovered" not in process.stdout.readline():
        assert process.poll() is None


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    """While it trains, and says so."""
    deadline = time.monotonic() + 60
    while not path.exists():
        assert "iteration" in process.stdout.readline()
        assert time.monotonic() < deadline, path


def test_spares_come_and_go(tmp_path: Path) -> None:
    store = tmp_path / "store"
    settings = (f"layout={{{LAYOUT}, spare_domains = 1}}", "training.zero_stage=0")
    settings += (f"store=dir:{store}", "recovery.restart_delay_s=0.5")
    arguments = [f"--set={each}" for each in settings]
    with started(tmp_path, "--transport", "gloo", *arguments) as process:
        workers = children(process.pid)
        assert len(workers) == 6
        os.kill(workers[3], signal.SIGKILL)
        wait_for_recovery(process)
        # Who comes back is a spare; so is one that stood by and is replaced. Nobody minds.
        wait_for(store / "here%2f2%2f3", process)
        os.kill(workers[2], signal.SIGKILL)
        wait_for(store / "here%2f2%2f2", process)
        os.kill(workers[5], signal.SIGKILL)
        wait_for_recovery(process)
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
    first, second = recoveries(tmp_path / "run.jsonl")
    assert (first["reason"], first["num_ranks"]) == ("lost 3", 4)
    assert groups(first["plan"]) == [[0, 1], [4, 5]]
    assert (second["reason"], second["num_ranks"]) == ("lost 2, 5; joined by 2, 3", 4)
    assert groups(second["plan"]) == [[0, 1], [2, 3]]
    _, records = read_log(tmp_path / "run.jsonl")
    assert [record["step"] for record in records] == list(range(1, len(records) + 1))


def test_a_job_waits_for_what_its_policy_needs(tmp_path: Path) -> None:
    settings = (f"layout={{{LAYOUT}}}", "training.zero_stage=0", "recovery.restart_delay_s=1")
    settings += ("recovery.policy=spare_domain", "recovery.wait_for_spare_s=60")
    arguments = [f"--set={each}" for each in settings]
    with started(tmp_path, "--transport", "gloo", *arguments) as process:
        os.kill(children(process.pid)[3], signal.SIGKILL)
        wait_for_recovery(process)
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
        assert "runflat-agent: waits for workers to join: 1 of 2 TP groups have lost GPUs" in err
    (waited,) = recoveries(tmp_path / "run.jsonl")
    assert (waited["rung"], waited["num_ranks"]) == ("in_place", 4)
    assert (waited["cause"], waited["waited_ms"] > 500.0) == ("join", True)
    _, records = read_log(tmp_path / "run.jsonl")
    assert [record["step"] for record in records] == list(range(1, len(records) + 1))
