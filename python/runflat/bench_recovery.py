"""Times recoveries: their parts in NCCL, and whole ones in runs whose ranks are killed."""

from __future__ import annotations

import json
import signal
import statistics
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import typer

from runflat._core import ParseError, train_job
from runflat.bench_run import driver_version, read_json_lines
from runflat.bench_table import Column, fact_lines, table_lines
from runflat.programs import program
from runflat.train_launch import rank_environment

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
_SPANS = ("detect", "quiesce", "agree", "communicators", "move", "warm_up", "redo")
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
    *(Column(name, name, 13, ".1f") for name in _SPANS),
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
    """A run in which ranks are killed one after another, `spacing` steps apart and each back half
    of that later, until there were `count` losses and as many returns."""
    changed = [
        *overrides,
        "training.train_iters=1000000",
        "training.eval_interval=0",
        "training.eval_iters=0",
        "optimizer={lr = 1e-4}",
        "data={mock_data = true}",
        "log={log_interval = 1000000}",
        f"recovery={{max_restarts = {count}}}",
    ]
    plan, _ = train_job(config, changed)
    faults = kills(json.loads(plan.to_json()), count, spacing)
    with TemporaryDirectory(prefix="runflat-") as folder:
        log = Path(folder) / "run.jsonl"
        command = [str(program("runflat-agent")), str(config), "--backend", backend]
        command += ["--transport", "nccl" if backend == "cuda" else "gloo", "--log", str(log)]
        for assignment in changed:
            command += ["--set", assignment]
        for fault in faults:
            command += ["--inject", fault]
        agent = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        try:
            memory = _watch(agent, log, 2 * count, backend)
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


def kills(plan: dict[str, Any], count: int, spacing: int) -> list[str]:
    """All ranks in turn, the last one first."""
    processes = [
        gpu
        for cell in plan["layout"]["cells"]
        for slot, gpu in enumerate(cell["gpus"])
        if slot not in cell["inactive"]
    ]
    return [
        f"kill rank={processes[-1 - i % len(processes)]} step={(i + 1) * spacing} at=op index=1"
        f" repair_steps={spacing // 2}"
        for i in range(count)
    ]


def _watch(agent: subprocess.Popen[str], log: Path, count: int, backend: str) -> list[list[int]]:
    """Until so many recoveries are in the log; after each, the memory in use on every GPU."""
    memory: list[list[int]] = []
    deadline = time.monotonic() + _TIMEOUT_SECONDS
    while len(memory) < count:
        if agent.poll() is not None:
            raise ParseError(agent.stderr.read().strip().splitlines()[-1])
        if time.monotonic() > deadline:
            raise ParseError(f"only {len(memory)} of {count} recoveries came about")
        time.sleep(0.1)
        text = log.read_text() if log.is_file() else ""
        if text.count('{"recovery":{') > len(memory):
            deadline = time.monotonic() + _TIMEOUT_SECONDS
            memory.append(_used_memory() if backend == "cuda" else [])
    return memory


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
        for span in _SPANS:
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
