"""Times recoveries: their parts in NCCL, and whole ones in runs whose ranks are killed."""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import typer

from runflat._core import ParseError
from runflat.bench_ranks import rank_environment
from runflat.bench_run import driver_version, read_json_lines
from runflat.bench_table import Column, fact_lines, table_lines
from runflat.programs import program
from runflat.run_log import SPANS

WAYS = (
    "init",
    "init again",
    "split",
    "shrink",
    "revoke, shrink",
    "abort, init",
    "abort aside, init",
)
_WITHOUT_LOSS = WAYS[:3]
_TIMEOUT_SECONDS = 120.0
_WAY_COLUMNS = (
    Column("way", "way", 18),
    Column("quiesce ms", "quiesce_ms", 11, ".1f"),
    Column("communicator ms", "communicator_ms", 15, ".1f"),
    Column("first 256 MB ms", "first_all_reduce_ms", 15, ".1f"),
    Column("warm ms", "warm_all_reduce_ms", 9, ".2f"),
)
_RECOVERY_COLUMNS = (
    Column("what", "what", 10),
    Column("count", "count", 6, "d"),
    *(Column(name, name, 13, ".1f") for name in SPANS),
    Column("total ms", "total", 9, ".1f"),
    Column("worst ms", "worst", 9, ".1f"),
)


def time_ways(num_gpus: int) -> list[dict[str, Any]]:
    """Each way of getting a communicator, with new processes; after a loss, of the survivors."""
    return [_time_way(way, num_gpus) for way in WAYS]


def _time_way(way: str, num_gpus: int) -> dict[str, Any]:
    with TemporaryDirectory(prefix="runflat-") as folder:
        log = Path(folder) / "way.jsonl"
        command = [str(program("runflat-recovery-bench")), "--way", way, "--log", str(log)]
        ranks = [
            subprocess.Popen(command, env=rank_environment(rank, num_gpus, Path(folder)))
            for rank in range(num_gpus)
        ]
        try:
            statuses = [rank.wait(_TIMEOUT_SECONDS) for rank in ranks]
        except subprocess.TimeoutExpired:
            raise ParseError(f"{way}: not over after {_TIMEOUT_SECONDS:.0f} s") from None
        finally:
            for rank in ranks:
                rank.kill()
        lost = [] if way in _WITHOUT_LOSS else [-signal.SIGKILL]
        if statuses != [0] * (num_gpus - len(lost)) + lost:
            raise typer.Exit(1)
        return read_json_lines(log)[0]


def time_recoveries(
    config: Path, overrides: list[str], backend: str, count: int, spacing: int
) -> dict[str, Any]:
    """A run in which `count` ranks are killed one after another, each `spacing` steps after the one
    before is back."""
    changed = [
        *overrides,
        "training.train_iters=1000000",
        "training.eval_interval=0",
        "training.eval_iters=0",
        "optimizer={lr = 1e-4}",
        "data={mock_data = true}",
        "log={log_interval = 1000000}",
        f"recovery={{max_restarts = {count}, restart_delay_s = 1.0}}",
    ]
    with TemporaryDirectory(prefix="runflat-") as folder:
        log = Path(folder) / "run.jsonl"
        command = [str(program("runflat-agent")), str(config), "--backend", backend]
        command += ["--transport", "nccl" if backend == "cuda" else "gloo", "--log", str(log)]
        for assignment in changed:
            command += ["--set", assignment]
        agent = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        run = _Run(agent, log)
        memory: list[list[int]] = []
        try:
            for number in range(count):
                run.wait_for_steps(spacing)
                run.kill_rank(number)
                for what in ("lost ", "joined by "):
                    run.wait_for_recovery(what, number + 1)
                    memory.append(_used_memory() if backend == "cuda" else [])
            agent.send_signal(signal.SIGTERM)
            _, errors = agent.communicate(timeout=_TIMEOUT_SECONDS)
        finally:
            agent.kill()
        if agent.returncode != 0:
            raise ParseError(errors.strip().splitlines()[-1])
        header, *records = read_json_lines(log)
    return {
        "measured_with": _facts(header, backend),
        "recoveries": [record["recovery"] for record in records if "recovery" in record],
        "steps": sum("step" in record for record in records),
        "median_step_ms": statistics.median(
            record["step_time_ms"] for record in records if record.get("step_time_ms")
        ),
        "used_memory_mb": memory,
    }


class _Run:
    """A job that goes on, by its agent and its log."""

    def __init__(self, agent: subprocess.Popen[str], log: Path) -> None:
        self._agent = agent
        self._log = log

    def wait_for_steps(self, count: int) -> None:
        target = self._count('{"step":') + count
        self._wait(lambda: self._count('{"step":') >= target, f"{count} steps")

    def wait_for_recovery(self, what: str, number: int) -> None:
        """The `number`-th that tells of this; one may tell of both, where it took that long."""
        self._wait(
            lambda: (
                sum(what in line for line in self._lines() if line.startswith('{"recovery":'))
                >= number
            ),
            f"recovery {number}",
        )

    def kill_rank(self, number: int) -> None:
        """All in turn, the last one first."""
        workers = sorted(self._workers().items())
        _, pid = workers[-1 - number % len(workers)]
        os.kill(pid, signal.SIGKILL)

    def _workers(self) -> dict[int, int]:
        """Process ids by the workers' numbers."""
        tasks = Path(f"/proc/{self._agent.pid}/task").glob("*/children")
        pids = [int(word) for path in tasks for word in path.read_text().split()]
        workers = {}
        for pid in pids:
            variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
            number = next(v for v in variables if v.startswith(b"RUNFLAT_PROCESS="))
            workers[int(number.partition(b"=")[2])] = pid
        return workers

    def _count(self, start: str) -> int:
        return sum(line.startswith(start) for line in self._lines())

    def _lines(self) -> list[str]:
        return self._log.read_text().splitlines() if self._log.is_file() else []

    def _wait(self, is_so: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + _TIMEOUT_SECONDS
        while not is_so():
            if self._agent.poll() is not None:
                raise ParseError(self._agent.stderr.read().strip().splitlines()[-1])
            if time.monotonic() > deadline:
                raise ParseError(f"{what} did not come about in {_TIMEOUT_SECONDS:.0f} s")
            time.sleep(0.05)


def _used_memory() -> list[int]:
    command = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [int(word) for word in done.stdout.split()]


def _facts(header: dict[str, Any], backend: str) -> dict[str, Any]:
    facts = {"model": header["plan"]["model"]["name"], "ranks": header["world_size"]}
    facts |= {key: header[key] for key in ("backend", "gpu", "gpu_versions") if key in header}
    return facts | ({"driver": driver_version()} if backend == "cuda" else {})


def summary(recoveries: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Medians of the spans over recoveries of a kind, in ms."""
    kinds: dict[str, list[dict[str, Any]]] = {}
    for recovery in recoveries:
        kinds.setdefault(recovery["reason"].split()[0], []).append(recovery)
    rows = []
    for what, group in kinds.items():
        row: dict[str, Any] = {"what": what, "count": len(group)}
        for span in SPANS:
            known = [one["spans_ms"][span] for one in group if one["spans_ms"][span] is not None]
            row[span] = statistics.median(known) if known else None
        totals = [one["total_ms"] for one in group]
        rows.append(row | {"total": statistics.median(totals), "worst": max(totals)})
    return rows


def lines_of(result: dict[str, Any]) -> list[str]:
    lines = fact_lines(result["measured_with"] | {"steps": result["steps"]})
    lines += ["#", "# medians in ms; total: from the end of a rank to the new plan's first step"]
    lines += table_lines(_RECOVERY_COLUMNS, summary(result["recoveries"]))
    if result["ways"]:
        lines += ["#", "# communicators of NCCL; after a loss, of the survivors"]
        lines += table_lines(_WAY_COLUMNS, result["ways"])
    if any(result["used_memory_mb"]):
        used = "; ".join(json.dumps(row) for row in result["used_memory_mb"])
        lines += ["#", f"# MB in use on every GPU after each recovery: {used}"]
    return lines
