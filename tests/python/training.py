"""What the tests of `runflat train` share: a tiny job on real text, and what its runs leave."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from conftest import COMMAND
from slurm_cluster import free_port

CONFIG = "tiny-llama-ntp"
NUM_RANKS = 6

# Two ranks of the same model: the smallest job that needs a launcher.
TWO_RANKS = (
    "--set=layout={tensor_model_parallel_size = 2}",
    "--set=training.global_batch_size=4",
    "--set=training.zero_stage=0",
)

# The smallest job that survives its ranks.
DATA_PARALLEL = ("--set=layout={data_parallel_size = 2}", "--set=training.zero_stage=0")


def steps(count: int) -> tuple[str, ...]:
    return (f"--set=training.train_iters={count}", "--set=optimizer.lr_warmup_iters=0")


def read_log(path: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The header and the steps of a JSON log."""
    header, *records = (json.loads(line) for line in path.read_text().splitlines())
    return header, [record for record in records if "step" in record]


def losses(path: Path) -> list[float]:
    return [record["loss"] for record in read_log(path)[1]]


@contextmanager
def started(tmp_path: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A run that goes on and on, from its first logged step."""
    command = [str(COMMAND), "train", CONFIG, *arguments, *steps(20_000)]
    command += ["--set=log.log_interval=1", "--log=run.jsonl"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path
    )
    try:
        assert "iteration" in process.stdout.readline()
        yield process
    finally:
        process.kill()
        process.communicate()


def children(pid: int) -> list[int]:
    """In the order in which they were started."""
    text = "".join(
        path.read_text() for path in sorted(Path(f"/proc/{pid}/task").glob("*/children"))
    )
    return sorted(int(word) for word in text.split())


def recoveries_of(log: Path) -> list[dict[str, Any]]:
    """So far: lines that are being written are left out."""
    lines = log.read_text().splitlines(keepends=True) if log.exists() else []
    records = [json.loads(line) for line in lines if line.endswith("\n")]
    return [record["recovery"] for record in records if "recovery" in record]


@contextmanager
def redis_store(folder: Path) -> Iterator[str]:
    """The address of a Store on a server of its own; skips where there is none."""
    if shutil.which("redis-server") is None:
        pytest.skip("no redis-server")
    port = free_port()
    server = subprocess.Popen(
        ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", ""],
        stdout=subprocess.DEVNULL,
        cwd=folder,
    )
    try:
        yield f"redis://127.0.0.1:{port}/job"
    finally:
        server.terminate()
        server.wait()
