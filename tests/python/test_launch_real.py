"""`runflat launch` with real launchers: a Slurm cluster of two nodes, and mpirun over two hosts
that are network namespaces. Each gives the losses that the same job has as threads."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import COMMAND, Run
from namespaces import Host, two_hosts
from slurm_cluster import free_port, wait_until_idle
from training import CONFIG, TWO_RANKS, losses, steps

LOG = ("--log", "launched.jsonl")
PASSWORD = "only-for-this-test"


@pytest.fixture
def expected(run: Run, tmp_path: Path, text: None) -> list[float]:
    done = run("train", CONFIG, *TWO_RANKS, *steps(3), "--log", "threads.jsonl")
    assert done.returncode == 0, done.stderr
    return losses(tmp_path / "threads.jsonl")


def wait_for(what: Callable[[], bool], seconds: float = 30.0) -> None:
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
        self._environment = {**os.environ, **environment, "RUNFLAT_HOST": "127.0.0.1"}
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

    def submit(self, *train: str, nodes: int = 1) -> str:
        slurm = ("--launcher", "slurm", "--nodes", str(nodes), "-O", "--output=out.txt")
        said = self.call(str(COMMAND), "launch", CONFIG, *slurm, "--", *TWO_RANKS, *train, *LOG)
        return said.split()[-1]  # Submitted batch job 3

    def wait_until_idle(self) -> None:
        wait_until_idle(self._environment)

    def state(self, job: str) -> str:
        return self.call("scontrol", "show", "job", job).partition("JobState=")[2].split()[0]


@pytest.fixture
def cluster(slurm: dict[str, str], tmp_path: Path) -> Cluster:
    return Cluster(slurm, tmp_path)


def test_a_batch_script_trains_on_two_nodes(
    cluster: Cluster, tmp_path: Path, expected: list[float]
) -> None:
    """They meet in the Redis server that the script brings."""
    job = cluster.submit(*steps(3), nodes=2)
    wait_for(lambda: cluster.state(job) in ("COMPLETED", "FAILED"))
    assert cluster.state(job) == "COMPLETED", (tmp_path / "out.txt").read_text()
    assert losses(tmp_path / "launched.jsonl") == pytest.approx(expected, rel=1e-6)


def test_a_batch_script_that_cannot_train_fails(cluster: Cluster, tmp_path: Path) -> None:
    job = cluster.submit(*steps(3))  # its data is not there
    wait_for(lambda: cluster.state(job) in ("COMPLETED", "FAILED"))
    assert cluster.state(job) == "FAILED"
    assert "text.idx" in (tmp_path / "out.txt").read_text()


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


# In place of `runflat`: an agent that says that it is there, and lives until another one is dead.
AGENT = """#!/bin/sh
touch up-$1
until test -e dead; do sleep 0.05; done
test "$1" = 1 && kill -KILL $$
sleep 1
touch survived-$1
"""


def agents(script: str, folder: Path, index: str) -> str:
    """The script with such agents; `index` is the shell's word for the number of one."""
    agent = folder / "agent.sh"
    agent.write_text(AGENT.replace("$1", index))
    agent.chmod(0o700)
    return script.replace(str(COMMAND), str(agent))


@pytest.mark.parametrize("dies", ["agent", "node"])
def test_slurm_leaves_the_others_alone(
    cluster: Cluster, tmp_path: Path, text: None, dies: str
) -> None:
    slurm = ("--launcher", "slurm", "--nodes", "2", "-O", "--output=out.txt", "--print")
    written = cluster.call(str(COMMAND), "launch", CONFIG, *slurm)
    script = tmp_path / "job.sh"
    script.write_text(agents(written, tmp_path, "$SLURM_PROCID"))
    job = cluster.call("sbatch", "--parsable", str(script)).strip()
    wait_for(lambda: all((tmp_path / f"up-{i}").exists() for i in range(2)))
    if dies == "node":
        cluster.call("scontrol", "update", "NodeName=second", "State=DOWN", "Reason=test")
    (tmp_path / "dead").touch()
    wait_for((tmp_path / "survived-0").exists)
    wait_for(lambda: cluster.state(job) in ("COMPLETED", "FAILED"))
    assert cluster.state(job) == "COMPLETED"
    assert not (tmp_path / "survived-1").exists()
    if dies == "node":
        cluster.wait_until_idle()  # its daemon is well, and reports it back


TORCHRUN = f"""#!{sys.executable}
# Reads its command line as torchrun does, which takes what begins like an option of its own for one
# wherever it stands, and gives one process per node what static rendezvous gives it.
import argparse, os
parser = argparse.ArgumentParser()
for name in ("nnodes", "nproc-per-node", "node-rank", "master-addr", "max-restarts"):
    parser.add_argument(f"--{{name}}", default="0")
for name in ("rdzv-backend", "log-dir", "logs-specs", "role", "tee", "redirects"):
    parser.add_argument(f"--{{name}}")
parser.add_argument("--no-python", action="store_true")
parser.add_argument("training_script")
parser.add_argument("training_script_args", nargs=argparse.REMAINDER)
job = parser.parse_args()
assert (job.nproc_per_node, job.max_restarts, job.rdzv_backend) == ("1", "0", "static")
os.environ |= {{"WORLD_SIZE": job.nnodes, "RANK": job.node_rank, "MASTER_ADDR": job.master_addr}}
os.environ |= {{"LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1"}}
os.execv(job.training_script, [job.training_script, *job.training_script_args])
"""


def test_the_script_of_torchrun_trains_on_every_node(tmp_path: Path, expected: list[float]) -> None:
    if shutil.which("redis-server") is None:
        pytest.skip("no redis-server")
    port = free_port()
    store = f"redis://:{PASSWORD}@127.0.0.1:{port}"
    torchrun = tmp_path / "torchrun"
    torchrun.write_text(TORCHRUN)
    torchrun.chmod(0o700)
    launcher = ("--launcher", "torchrun", "--nodes", "127.0.0.1,127.0.0.2", "--store", store)
    script = subprocess.run(
        [COMMAND, "launch", CONFIG, *launcher, "--print", "--", *TWO_RANKS, *steps(3), *LOG],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    variables = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "RUNFLAT_STORE": store}
    environment = {**os.environ, **variables, "RUNFLAT_HOST": "127.0.0.1"}
    options = ["--port", str(port), "--bind", "127.0.0.1", "--requirepass", PASSWORD, "--save", ""]
    with subprocess.Popen(["redis-server", *options], cwd=tmp_path) as server:
        nodes = [
            subprocess.Popen(["sh", "-c", script, "launch.sh", str(rank), "run"], env=environment)
            for rank in range(2)
        ]
        try:
            assert [node.wait(timeout=60) for node in nodes] == [0, 0]
        finally:
            server.terminate()
    assert losses(tmp_path / "launched.jsonl") == pytest.approx(expected, rel=1e-6)


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
    return [
        *(str(COMMAND), "launch", CONFIG, "--launcher", "mpirun", "--nodes", names),
        *("--store", store, f"--option=--mca oob_tcp_if_include {network}"),
        *(("--print",) if only_print else ()),
        *("--", *TWO_RANKS, *train, *LOG),
    ]


def on(host: Host, folder: Path, *command: str) -> subprocess.Popen[bytes]:
    variables = {
        "RUNFLAT_HOST": host.address,
        "OMPI_MCA_plm_rsh_agent": str(folder / "enter.sh"),
        "OMPI_ALLOW_RUN_AS_ROOT": "1",
        "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    }
    return host.popen(*command, cwd=folder, env={**os.environ, **variables})


def test_mpirun_trains_on_two_hosts(
    hosts: tuple[Host, Host], store: str, tmp_path: Path, expected: list[float]
) -> None:
    job = on(hosts[0], tmp_path, *mpirun_job(hosts, store, tmp_path, *steps(3)))
    assert job.wait(timeout=60) == 0
    assert losses(tmp_path / "launched.jsonl") == pytest.approx(expected, rel=1e-6)


def test_mpirun_says_that_a_job_failed(
    hosts: tuple[Host, Host], store: str, tmp_path: Path
) -> None:
    job = on(hosts[0], tmp_path, *mpirun_job(hosts, store, tmp_path, *steps(3)))
    assert job.wait(timeout=60) == 2  # its data is not there


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
    store = f"redis://:{PASSWORD}@{hosts[0].address}:1"
    written = subprocess.run(
        mpirun_job(hosts, store, tmp_path, only_print=True),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    script = agents(written.stdout, tmp_path, "$OMPI_COMM_WORLD_RANK").replace("seq 30", "seq 1")
    environment = ["env", f"RUNFLAT_STORE={store}"]
    job = on(hosts[0], tmp_path, *environment, "bash", "-c", script)
    wait_for(lambda: all((tmp_path / f"up-{i}").exists() for i in range(2)))
    hosts[1].end_all()
    (tmp_path / "dead").touch()
    assert job.wait(timeout=60) == 0
    assert (tmp_path / "survived-0").exists()
    assert not (tmp_path / "survived-1").exists()


def test_a_job_outlives_one_of_its_hosts(
    hosts: tuple[Host, Host], store: str, tmp_path: Path, text: None
) -> None:
    """The host of the rank that writes the log is lost: its replica's peer goes on, and writes."""
    settings = ("layout={data_parallel_size = 2}", "recovery.join_timeout_s=1")
    train = (*steps(120), *(f"--set={each}" for each in settings))
    script = subprocess.run(
        mpirun_job(hosts, store, tmp_path, *train, only_print=True),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.replace("seq 30", "seq 1")
    job = on(hosts[0], tmp_path, "env", f"RUNFLAT_STORE={store}", "bash", "-c", script)
    log = tmp_path / "launched.jsonl"
    wait_for(lambda: log.exists() and log.read_text().count("\n") > 3)
    hosts[1].end_all()
    assert job.wait(timeout=60) == 0
    records = [json.loads(line) for line in log.read_text().splitlines()]
    assert [record["step"] for record in records if "step" in record] == list(range(1, 121))
    (recovery,) = [record["recovery"] for record in records if "recovery" in record]
    assert (recovery["cause"], recovery["reason"], recovery["num_ranks"]) == ("hang", "lost 1", 1)
