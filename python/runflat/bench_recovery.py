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
_RESTART_SECONDS = 1.0
_TIME_TO_KILL_ANOTHER = 5.0  # seconds in which those that were killed before stay away
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
    Column("after kill ms", "after_kill", 14, ".1f"),
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
    config: Path,
    overrides: list[str],
    backend: str,
    *,
    count: int,
    down: int,
    spacing: int,
    ranks_per_gpu: int,
) -> dict[str, Any]:
    """A run in which `count` ranks are killed one after another, `spacing` steps apart: `down` of
    them, then others once those are back."""
    restart_delay = _RESTART_SECONDS + (down - 1) * _TIME_TO_KILL_ANOTHER
    changed = [
        *overrides,
        "training.train_iters=1000000",
        "training.eval_interval=0",
        "training.eval_iters=0",
        "optimizer={lr = 1e-4}",
        "data={mock_data = true}",
        "log={log_interval = 1000000}",
        f"recovery={{max_restarts = {count}, restart_delay_s = {restart_delay}}}",
    ]
    with TemporaryDirectory(prefix="runflat-") as folder:
        log = Path(folder) / "run.jsonl"
        command = [str(program("runflat-agent")), str(config), "--backend", backend]
        command += ["--transport", "nccl" if backend == "cuda" else "gloo", "--log", str(log)]
        if ranks_per_gpu > 1:
            command += ["--ranks-per-gpu", str(ranks_per_gpu)]
        for assignment in changed:
            command += ["--set", assignment]
        agent = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        run = _Run(agent, log)
        memory: list[list[int]] = []
        kills: list[float] = []
        try:
            for number in range(count):
                run.wait_for_steps(spacing)
                kills.append(run.kill_rank(number))
                run.wait_for_loss(kills[-1])
                memory.append(_used_memory() if backend == "cuda" else [])
                if (number + 1) % down == 0 or number + 1 == count:
                    run.wait_until_whole()
                    memory.append(_used_memory() if backend == "cuda" else [])
            agent.send_signal(signal.SIGTERM)
            _, errors = agent.communicate(timeout=_TIMEOUT_SECONDS)
        finally:
            agent.kill()
        if agent.returncode != 0:
            raise ParseError(errors.strip().splitlines()[-1])
        for line in errors.splitlines():  # of workers that ended, and were not killed here
            if line.startswith("runflat-agent: process ") and "killed by SIGKILL" not in line:
                raise ParseError(line.removeprefix("runflat-agent: "))
        header, *records = read_json_lines(log)
    recoveries = [record["recovery"] for record in records if "recovery" in record]
    for kill in kills:
        recovery = next(one for one in recoveries if _makes_up_for(one, kill))
        recovery["after_kill_ms"] = (recovery["ready_at"] - kill) * 1e3
    return {
        "measured_with": _facts(header, backend) | {"ranks_per_gpu": ranks_per_gpu},
        "recoveries": recoveries,
        "steps": sum("step" in record for record in records),
        "median_step_ms": statistics.median(
            record["step_time_ms"] for record in records if record.get("step_time_ms")
        ),
        "used_memory_mb": memory,
    }


def _makes_up_for(recovery: dict[str, Any], kill: float) -> bool:
    return "lost " in recovery["reason"] and recovery["ready_at"] > kill


class _Run:
    """A job that goes on, by its agent and its log."""

    def __init__(self, agent: subprocess.Popen[str], log: Path) -> None:
        self._agent = agent
        self._log = log

    def wait_for_steps(self, count: int) -> None:
        target = self._count('{"step":') + count
        self._wait(lambda: self._count('{"step":') >= target, f"{count} steps")

    def wait_for_loss(self, kill: float) -> None:
        self._wait(
            lambda: any(_makes_up_for(one, kill) for one in self._recoveries()),
            "the recovery from a kill",
        )

    def wait_until_whole(self) -> None:
        self._wait(
            lambda: self._recoveries()[-1]["num_ranks"] == self._header()["world_size"],
            "the return of all",
        )

    def kill_rank(self, number: int) -> float:
        """All in turn, the last one first. Returns when, in seconds of Unix time."""
        process = self._header()["world_size"] - 1 - number % self._header()["world_size"]
        pid = self._workers()[process]
        when = time.time()
        os.kill(pid, signal.SIGKILL)
        return when

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

    def _header(self) -> dict[str, Any]:
        return json.loads(self._lines()[0])

    def _recoveries(self) -> list[dict[str, Any]]:
        return [
            json.loads(line)["recovery"]
            for line in self._lines()
            if line.startswith('{"recovery":') and line.endswith("}")
        ]

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
        kills = [one["after_kill_ms"] for one in group if "after_kill_ms" in one]
        row["total"] = statistics.median(totals)
        row["after_kill"] = statistics.median(kills) if kills else None
        rows.append(row | {"worst": max(totals + kills)})
    return rows


def lines_of(result: dict[str, Any]) -> list[str]:
    lines = fact_lines(result["measured_with"] | {"steps": result["steps"]})
    lines += ["#", "# medians in ms until the new plan's first step; worst: the longest of all"]
    lines += table_lines(_RECOVERY_COLUMNS, summary(result["recoveries"]))
    if result["ways"]:
        lines += ["#", "# communicators of NCCL; after a loss, of the survivors"]
        lines += table_lines(_WAY_COLUMNS, result["ways"])
    if any(result["used_memory_mb"]):
        used = "; ".join(json.dumps(row) for row in result["used_memory_mb"])
        lines += ["#", f"# MB in use on every GPU after each recovery: {used}"]
    return lines
