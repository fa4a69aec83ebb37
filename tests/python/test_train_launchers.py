"""Real launchers on this machine: mpirun, and a Slurm cluster of one node. Each gives the losses
that the same job has as threads."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from conftest import COMMAND, Run
from training import CONFIG, TWO_RANKS, losses, steps

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
    check(["srun", "-n2", "--overcommit"], tmp_path, expected, slurm)


def test_ranks_of_several_hosts_meet_in_redis(tmp_path: Path, expected: list[float]) -> None:
    if shutil.which("redis-server") is None:
        pytest.skip("no redis-server")
    port = free_port()
    server = subprocess.Popen(
        ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", ""],
        stdout=subprocess.DEVNULL,
        cwd=tmp_path,
    )
    hosts = {
        "WORLD_SIZE": "2",
        "LOCAL_WORLD_SIZE": "1",
        "LOCAL_RANK": "0",
        "RUNFLAT_STORE": f"redis://127.0.0.1:{port}/job",
        "RUNFLAT_HOST": "127.0.0.1",
    }
    try:
        ranks = [
            subprocess.Popen(
                [str(COMMAND), *JOB, "--log", "launched.jsonl"],
                env={**os.environ, **hosts, "RANK": str(rank)},
                cwd=tmp_path,
            )
            for rank in range(2)
        ]
        assert [rank.wait(timeout=120) for rank in ranks] == [0, 0]
    finally:
        server.terminate()
        server.wait()
    assert losses(tmp_path / "launched.jsonl") == pytest.approx(expected, rel=1e-6)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def slurm_configuration(folder: Path) -> str:
    host = socket.gethostname()
    return f"""
ClusterName=local
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={free_port()}
SlurmdPort={free_port()}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SlurmUser=root
ReturnToService=2
MpiDefault=none
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
NodeName={host} NodeAddr=127.0.0.1 CPUs={os.cpu_count()} State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES OverSubscribe=FORCE:8
"""


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A cluster of this machine alone, with its own daemons, key and folders."""
    programs = [Path("/usr/sbin") / name for name in ("munged", "slurmctld", "slurmd")]
    if os.geteuid() != 0 or not all(program.exists() for program in programs):
        pytest.skip("Slurm's daemons need root and the packages slurm-wlm and munge")
    folder = tmp_path_factory.mktemp("slurm")
    (folder / "state").mkdir()
    (folder / "spool").mkdir()
    (folder / "key").write_bytes(os.urandom(128))
    (folder / "key").chmod(0o400)
    (folder / "slurm.conf").write_text(slurm_configuration(folder))
    environment = {"SLURM_CONF": str(folder / "slurm.conf")}
    munged, slurmctld, slurmd = map(str, programs)
    with ExitStack() as running:

        def start(*command: str) -> None:
            daemon = subprocess.Popen(
                command,
                env={**os.environ, **environment},
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            running.callback(daemon.wait, 30)
            running.callback(daemon.terminate)

        files = [f"--{name}={folder}/munge.{name}" for name in ("socket",)]
        files += [f"--{name}-file={folder}/{name}" for name in ("key", "pid", "log", "seed")]
        start(munged, "--foreground", "--force", *files)
        start(slurmctld, "-D")
        start(slurmd, "-D", "-N", socket.gethostname())
        wait_until_idle(environment)
        yield environment


def wait_until_idle(environment: dict[str, str]) -> None:
    for _ in range(120):
        state = subprocess.run(
            ["sinfo", "--noheader", "--format=%T"],
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
        )
        if state.stdout.strip() == "idle":
            return
        time.sleep(0.25)
    pytest.skip("Slurm's daemons do not come up here")
