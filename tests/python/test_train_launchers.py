"""Real launchers on this machine: mpirun, and a Slurm cluster. Each gives the losses
that the same job has as threads."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import COMMAND, Run
from training import CONFIG, TWO_RANKS, losses, redis_store, steps

JOB = ("train", CONFIG, *TWO_RANKS, *steps(3))


@pytest.fixture
def expected(run: Run, tmp_path: Path, text: None) -> list[float]:
    done = run(*JOB, "--log", "threads.jsonl")
    assert done.returncode == 0, done.stderr
    return losses(tmp_path / "threads.jsonl")


def check(
    launch: list[str], tmp_path: Path, expected: list[float], environment: dict[str, str]
) -> None:
    done = subprocess.run(
        [*launch, str(COMMAND), *JOB, "--log", "launched.jsonl"],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert losses(tmp_path / "launched.jsonl") == pytest.approx(expected, rel=1e-6)


def test_mpirun(tmp_path: Path, expected: list[float]) -> None:
    if shutil.which("mpirun") is None:
        pytest.skip("no mpirun")
    as_root = ["--allow-run-as-root"] if os.geteuid() == 0 else []
    launch = ["mpirun", *as_root, "--oversubscribe", "-np", "2"]
    check(launch, tmp_path, expected, {"OMPI_MCA_rmaps_base_oversubscribe": "1"})


def test_srun(tmp_path: Path, expected: list[float], slurm: dict[str, str]) -> None:
    check(["srun", "-N1", "-n2", "--overcommit"], tmp_path, expected, slurm)


def test_ranks_of_several_hosts_meet_in_redis(tmp_path: Path, expected: list[float]) -> None:
    with redis_store(tmp_path) as store:
        hosts = {
            "WORLD_SIZE": "2",
            "LOCAL_WORLD_SIZE": "1",
            "LOCAL_RANK": "0",
            "RUNFLAT_STORE": store,
            "RUNFLAT_HOST": "127.0.0.1",
        }
        ranks = [
            subprocess.Popen(
                [str(COMMAND), *JOB, "--log", "launched.jsonl"],
                env={**os.environ, **hosts, "RANK": str(rank)},
                cwd=tmp_path,
            )
            for rank in range(2)
        ]
        assert [rank.wait(timeout=120) for rank in ranks] == [0, 0]
    assert losses(tmp_path / "launched.jsonl") == pytest.approx(expected, rel=1e-6)
