"""Hosts of a job that go silent: each an agent with one worker, which meet in a Redis server."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from conftest import COMMAND
from training import CONFIG, DATA_PARALLEL, children, read_log, recoveries_of, redis_store, steps

pytestmark = pytest.mark.usefixtures("text")

HOST_LOST = "host lost: no sign of its agent for 1 s"


@contextmanager
def two_hosts(folder: Path) -> Iterator[list[subprocess.Popen[str]]]:
    """Their agents, once the job has taken steps."""
    command = [str(COMMAND), "train", CONFIG, *steps(20_000), "--log=run.jsonl", *DATA_PARALLEL]
    command += ["--set=recovery.lost_host_timeout_s=1", "--set=recovery.rejoin_rule=always"]
    with redis_store(folder) as store:
        variables = {"RUNFLAT_STORE": store, "RUNFLAT_HOST": "127.0.0.1", "WORLD_SIZE": "2"}
        agents = [
            subprocess.Popen(
                command,
                env={**os.environ, **variables, "RANK": str(rank), "LOCAL_RANK": "0"},
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                cwd=folder,
            )
            for rank in range(2)
        ]
        try:
            log = folder / "run.jsonl"
            while not log.exists() or log.read_text().count("\n") < 3:  # a header, and steps
                time.sleep(0.05)
            yield agents
        finally:
            for agent in agents:
                agent.kill()
                agent.communicate()


def wait_for_recovery(folder: Path, number: int) -> dict[str, Any]:
    deadline = time.monotonic() + 30  # join_timeout is 60 s
    while len(recoveries_of(folder / "run.jsonl")) < number:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return recoveries_of(folder / "run.jsonl")[number - 1]


def test_a_host_that_gives_no_sign_is_left_out_and_comes_back(tmp_path: Path) -> None:
    with two_hosts(tmp_path) as agents:
        silent = [agents[0].pid, *children(agents[0].pid)]
        for pid in silent:
            os.kill(pid, signal.SIGSTOP)
        lost = wait_for_recovery(tmp_path, 1)
        assert (lost["reason"], lost["cause"], lost["detail"]) == ("lost 0", "hang", HOST_LOST)
        assert 900 < lost["spans_ms"]["detect"] < 15_000
        for pid in reversed(silent):  # the agent reaps its worker at once
            os.kill(pid, signal.SIGCONT)
        assert wait_for_recovery(tmp_path, 2)["reason"] == "joined by 0"
        assert children(agents[0].pid) != silent[1:]
        agents[0].kill()  # its worker ends with it, and nobody says so
        lost = wait_for_recovery(tmp_path, 3)
        assert (lost["reason"], lost["cause"], lost["detail"]) == ("lost 0", "hang", HOST_LOST)
        agents[1].send_signal(signal.SIGTERM)
        _, err = agents[1].communicate(timeout=60)
        assert (agents[1].returncode, err) == (0, "")
    _, records = read_log(tmp_path / "run.jsonl")
    assert [record["step"] for record in records] == list(range(1, len(records) + 1))
