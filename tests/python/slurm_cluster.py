"""A Slurm cluster of this machine alone: two nodes, with their own daemons, key and folders."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

NODES = ("first", "second")


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def slurm_configuration(folder: Path) -> str:
    host = socket.gethostname()
    nodes = "\n".join(
        f"NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={free_port()} "
        f"CPUs={os.cpu_count()} State=UNKNOWN"
        for name in NODES
    )
    return f"""
ClusterName=local
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={free_port()}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SlurmUser=root
ReturnToService=2
MpiDefault=none
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/%n.log
KillOnBadExit=1
{nodes}
PartitionName=main Nodes=ALL Default=YES OverSubscribe=FORCE:8
"""


@contextmanager
def slurm_cluster(folder: Path) -> Iterator[dict[str, str]]:
    """Runs it in an empty folder; gives the environment of its commands."""
    programs = [Path("/usr/sbin") / name for name in ("munged", "slurmctld", "slurmd")]
    if os.geteuid() != 0 or not all(program.exists() for program in programs):
        pytest.skip("Slurm's daemons need root and the packages slurm-wlm and munge")
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
        for name in NODES:
            start(slurmd, "-D", "-N", name)
        wait_until_idle(environment)
        yield environment


def wait_until_idle(environment: dict[str, str]) -> None:
    for _ in range(120):
        state = subprocess.run(
            ["sinfo", "--noheader", "--format=%D %T"],
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
        )
        if state.stdout.strip() == f"{len(NODES)} idle":
            return
        time.sleep(0.25)
    pytest.skip("Slurm's daemons do not come up here")
