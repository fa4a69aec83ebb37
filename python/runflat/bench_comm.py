"""Runs the program that times collectives and reshard, and tells its lines of JSON as tables."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import typer

from runflat._core import ParseError
from runflat.bench_ranks import run_ranks
from runflat.bench_run import driver_version, read_json_lines, require_gpus
from runflat.bench_table import Column, fact_lines, table_lines, verdict_line
from runflat.programs import program

_COLLECTIVE_COLUMNS = (
    Column("size", "bytes", 12, "d"),
    Column("count", "count", 12, "d"),
    Column("type", "type", 5),
    Column("redop", "redop", 5),
    Column("time us", "time_us", 12, ".2f"),
    Column("algbw", "algbw_gb_per_s", 8, ".2f"),
    Column("busbw", "busbw_gb_per_s", 8, ".2f"),
    Column("#wrong", "wrong", 7, "d"),
)
_RESHARD_COLUMNS = (
    Column("bucket", "bucket", 6, "d"),
    Column("direction", "direction", 10),
    Column("count", "count", 12, "d"),
    Column("link bytes", "link_bytes", 12, "d"),
    Column("time us", "time_us", 12, ".2f"),
    Column("GB/s", "link_gb_per_s", 8, ".2f"),
    Column("#wrong", "wrong", 7, "d"),
)
_BUSBW = {
    "all_reduce": "algbw * 2(n-1)/n",
    "reduce_scatter": "algbw * (n-1)/n",
    "all_gather": "algbw * (n-1)/n",
    "exchange": "algbw, to the next rank and from the one before",
}


def measure(transport: str, ranks: int | None, options: list[str]) -> dict[str, Any]:
    """One run of the program: ranks are threads (loopback) or processes with a GPU each (nccl; all
    GPUs where no number is given). Exits as the program does."""
    num_ranks = _num_ranks(transport, ranks)
    command = [str(program("runflat-comm-bench")), "--transport", transport, *options]
    with TemporaryDirectory(prefix="runflat-") as folder:
        log = Path(folder) / "comm.jsonl"
        command += ["--log", str(log)]
        if transport == "loopback":
            command += ["--ranks", str(num_ranks)]
        status = run_ranks(command, num_ranks if transport == "nccl" else 1)
        if status != 0:
            raise typer.Exit(status)
        driver = driver_version() if transport == "nccl" else ""
        return result_of(read_json_lines(log), driver)


def _num_ranks(transport: str, ranks: int | None) -> int:
    if transport not in ("nccl", "loopback"):
        raise ParseError(f"--transport: expected nccl or loopback, found {transport}")
    wanted = ranks or 2
    if wanted < 2:
        raise ParseError("--ranks: a rank alone has nobody to talk to, expected at least 2")
    if transport == "loopback":
        return wanted
    count = require_gpus(wanted)
    return ranks or count


def result_of(log: list[dict[str, Any]], driver: str) -> dict[str, Any]:
    header, *measurements = log
    return {
        "measured_with": header | ({"driver": driver} if driver else {}),
        "measurements": measurements,
    }


def collective_lines(result: dict[str, Any]) -> list[str]:
    """One table per collective, with its derivation of busbw."""
    kind = result["measured_with"]["type"]
    lines = fact_lines(result["measured_with"])
    for name, busbw in _BUSBW.items():
        rows = [
            {**item, "type": kind, "time_us": 1e6 * item["seconds"]}
            for item in result["measurements"]
            if item["collective"] == name
        ]
        if rows:
            lines += [
                "#",
                f"# {name}: busbw = {busbw}; GB/s",
                *table_lines(_COLLECTIVE_COLUMNS, rows),
            ]
    return [*lines, verdict_line(result["measurements"])]


def reshard_lines(result: dict[str, Any], model: str) -> list[str]:
    ranks = result["measured_with"]["ranks"]
    facts = result["measured_with"] | {
        "model": model,
        "maps": f"computes at TP {ranks}, synchronises at TP {ranks - 1}",
        "GB/s": "of the busiest rank's link in its busier direction",
    }
    rows = [{**item, "time_us": 1e6 * item["seconds"]} for item in result["measurements"]]
    table = table_lines(_RESHARD_COLUMNS, rows)
    return [*fact_lines(facts), "#", *table, verdict_line(rows)]


def is_right(result: dict[str, Any]) -> bool:
    return not any(item["wrong"] for item in result["measurements"])
