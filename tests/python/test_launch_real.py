"""`runflat launch` with real launchers: a Slurm cluster of one node, and mpirun over two hosts that
are network namespaces. Each gives the losses that the same job has as threads."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import COMMAND, Run
from namespaces import Host, two_hosts
from slurm_cluster import free_port
from training import CONFIG, TWO_RANKS, losses, steps

LOG = ("--log", "launched.jsonl")
PASSWORD = "only-for-this-test"


@pytest.fixture
def expected(run: Run, tmp_path: Path, text: None) -> list[float]:
    done = run("train", CONFIG, *TWO_RANKS, *steps(3), "--log", "threads.jsonl")
    assert done.returncode == 0, done.stderr
    return losses(tmp_path / "threads.jsonl")


def wait_for(what: Callable[[], bool], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it does not come"
        time.sleep(0.05)


def test_local(run: Run, tmp_path: Path, expected: list[float]) -> None:
    done = run("launch", CONFIG, "--", *TWO_RANKS, *steps(3), *LOG)
    assert done.returncode == 0, done.stderr
    assert losses(tmp_path / "launched.jsonl") == expected


class Cluster:
    """Slurm's commands for one job in one folder."""

    def __init__(self, environment: dict[str, str], folder: Path) -> None:
        self._environment = {**os.environ, **environment}
        self._folder = folder

    def call(self, *command: str) -> str:
        done = subprocess.run(
            command,
            env=self._environment,
            cwd=self._folder,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def submit(self, *train: str) -> str:
        slurm = ("--launcher", "slurm", "--nodes", "1", "-O", "--output=out.txt")
        said = self.call(str(COMMAND), "launch", CONFIG, *slurm, "--", *TWO_RANKS, *train, *LOG)
        return said.split()[-1]  # Submitted batch job 3

    def state(self, job: str) -> str:
        return self.call("scontrol", "show", "job", job).partition("JobState=")[2].split()[0]


@pytest.fixture
def cluster(slurm: dict[str, str], tmp_path: Path) -> Cluster:
    return Cluster(slurm, tmp_path)


def test_a_batch_script_trains(cluster: Cluster, tmp_path: Path, expected: list[float]) -> None:
    job = cluster.submit(*steps(3))
    wait_for(lambda: cluster.state(job) in ("COMPLETED", "FAILED"))
    assert cluster.state(job) == "COMPLETED", (tmp_path / "out.txt").read_text()
    assert losses(tmp_path / "launched.jsonl") == pytest.approx(expected, rel=1e-6)


def test_near_its_limit_a_job_saves_and_is_queued_again(
    cluster: Cluster, tmp_path: Path, text: None
) -> None:
    checkpoint = '--set=checkpoint={save = "ck", load = "ck"}'
    job = cluster.submit(*steps(20_000), checkpoint)
    log = tmp_path / "launched.jsonl"
    wait_for(lambda: log.exists() and log.read_text().count("\n") > 3)
    cluster.call("scancel", "--batch", "--signal=USR1", job)  # what --signal=B:USR1@300 sends
    wait_for(lambda: cluster.state(job) == "PENDING")
    assert (tmp_path / "ck" / "latest").exists()
    cluster.call("scancel", job)


def redis(host: Host, folder: Path) -> tuple[subprocess.Popen[bytes], str]:
    port = free_port()
    options = ["--port", str(port), "--bind", host.address, "--requirepass", PASSWORD]
    server = host.popen("redis-server", *options, "--save", "", cwd=folder)
    return server, f"redis://:{PASSWORD}@{host.address}:{port}/jobs"


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[tuple[Host, Host]]:
    for program in ("mpirun", "redis-server"):
        if shutil.which(program) is None:
            pytest.skip(f"no {program}")
    with two_hosts() as pair:
        yield pair


@pytest.fixture
def store(hosts: tuple[Host, Host], tmp_path: Path) -> Iterator[str]:
    server, url = redis(hosts[0], tmp_path)
    yield url
    server.terminate()
    server.wait()


def mpirun_job(
    hosts: tuple[Host, Host], store: str, folder: Path, *train: str, only_print: bool = False
) -> list[str]:
    """`runflat launch`; in place of ssh a script enters the other namespace, and ends like ssh."""
    shell = folder / "enter.sh"
    enter = f'ip netns exec {hosts[1].name} /bin/sh -c "$*" || exit 255'
    shell.write_text(f"#!/bin/sh\nexport RUNFLAT_HOST=$1; shift\n{enter}\n")
    shell.chmod(0o700)
    network = hosts[0].address.rpartition(".")[0] + ".0/24"
    names = ",".join(host.address for host in hosts)
    options = [f"--mca plm_rsh_agent {shell}", f"--mca oob_tcp_if_include {network}"]
    return [
        *(str(COMMAND), "launch", CONFIG, "--launcher", "mpirun", "--nodes", names),
        *("--store", store, *(f"--option={option}" for option in options)),
        *(("--print",) if only_print else ()),
        *("--", *TWO_RANKS, *train, *LOG),
    ]


def on(host: Host, folder: Path, *command: str) -> subprocess.Popen[bytes]:
    as_root = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    variables = {**os.environ, **as_root, "RUNFLAT_HOST": host.address}
    return host.popen(*command, cwd=folder, env=variables)


def test_mpirun_trains_on_two_hosts(
    hosts: tuple[Host, Host], store: str, tmp_path: Path, expected: list[float]
) -> None:
    job = on(hosts[0], tmp_path, *mpirun_job(hosts, store, tmp_path, *steps(3)))
    assert job.wait(timeout=60) == 0
    assert losses(tmp_path / "launched.jsonl") == pytest.approx(expected, rel=1e-6)


def test_mpirun_passes_sigterm_on(
    hosts: tuple[Host, Host], store: str, tmp_path: Path, text: None
) -> None:
    saving = '--set=checkpoint={save = "ck"}'
    job = on(hosts[0], tmp_path, *mpirun_job(hosts, store, tmp_path, *steps(20_000), saving))
    log = tmp_path / "launched.jsonl"
    wait_for(lambda: log.exists() and log.read_text().count("\n") > 3)
    job.send_signal(signal.SIGTERM)
    assert job.wait(timeout=60) == 0
    assert (tmp_path / "ck" / "latest").exists()


def test_mpirun_leaves_the_others_alone_when_a_host_dies(
    hosts: tuple[Host, Host], tmp_path: Path, text: None
) -> None:
    """An agent is here a script that lives as long as the test wants."""
    store = f"redis://:{PASSWORD}@{hosts[0].address}:1"
    agent = tmp_path / "agent.sh"
    agent.write_text(
        "#!/bin/sh\ntouch up-$RUNFLAT_HOST\nuntil test -e dead; do sleep 0.05; done\n"
        "sleep 1\ntouch survived-$RUNFLAT_HOST\n"
    )
    agent.chmod(0o700)
    written = subprocess.run(
        mpirun_job(hosts, store, tmp_path, only_print=True),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    script = written.stdout.replace(str(COMMAND), str(agent))
    environment = ["env", f"RUNFLAT_STORE={store}"]
    job = on(hosts[0], tmp_path, *environment, "bash", "-c", script)
    up = [tmp_path / f"up-{host.address}" for host in hosts]
    survived = [tmp_path / f"survived-{host.address}" for host in hosts]
    wait_for(lambda: all(file.exists() for file in up))
    hosts[1].end_all()
    (tmp_path / "dead").touch()
    wait_for(survived[0].exists)
    assert not survived[1].exists()
    job.kill()
    job.wait()
