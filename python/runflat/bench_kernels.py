"""Runs the Google Benchmark program of the kernels, and tells its JSON as tables."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from runflat._core import ParseError
from runflat.bench_run import driver_version, require_gpus
from runflat.bench_table import Column, fact_lines, table_lines, verdict_line
from runflat.programs import program

_VERSIONS = ("gpu", "driver_cuda", "cuda", "cublasLt", "copy_GB/s")
_NAME = Column("name", "name", 44)
_TIME = Column("time us", "real_time", 12, ".1f")
_WRONG = Column("#wrong", "#wrong", 8, ".0f")
_BYTE_COLUMNS = (
    _NAME,
    Column("MB", "MB", 9, ".1f"),
    _TIME,
    Column("GB/s", "GB/s", 9, ".0f"),
    Column("of copy", "of_copy", 9, ".1%"),
    _WRONG,
)
_FLOP_COLUMNS = (
    _NAME,
    _TIME,
    Column("TFLOP/s", "TFLOP/s", 9, ".1f"),
    Column("of ceiling", "of_ceiling", 10, ".1%"),
    _WRONG,
)


class Family(NamedTuple):
    """Benchmarks that make one table. `filter` is --benchmark_filter's, where - negates."""

    filter: str
    columns: tuple[Column, ...]
    ceiling: str


_PRODUCT = "TFLOP/s of a matrix product of 8192^3, bf16"
FAMILIES = {
    "kernels": Family("-^(gemm|attention|sweep)_", _BYTE_COLUMNS, "copies of the device"),
    "gemm": Family("^gemm_", _FLOP_COLUMNS, _PRODUCT),
    "attention": Family("^(attention_|gemm_ceiling/)", _FLOP_COLUMNS, _PRODUCT),
}
SWEEPS = "^(sweep_|gemm_sustained/)"


def measure(benchmark_filter: str) -> dict[str, Any]:
    """The benchmarks whose names match. ParseError without a GPU, or where the program fails."""
    require_gpus()
    command = [str(program("runflat-kernel-bench")), f"--benchmark_filter={benchmark_filter}"]
    with TemporaryDirectory(prefix="runflat-") as folder:
        output = Path(folder) / "kernels.json"
        command += [f"--benchmark_out={output}", "--benchmark_out_format=json"]
        status = subprocess.run(command, stdout=subprocess.DEVNULL).returncode
        if status != 0 or not output.is_file():
            raise ParseError(f"runflat-kernel-bench ended with status {status}")
        return result_of(json.loads(output.read_text()), driver_version())


def result_of(document: dict[str, Any], driver: str) -> dict[str, Any]:
    """What of Google Benchmark's document belongs to this measurement. Shares of the ceiling are
    added where the document holds it."""
    context = document["context"]
    benchmarks = [_benchmark(item) for item in document["benchmarks"]]
    products = [item for item in benchmarks if item["name"].startswith("gemm_ceiling/")]
    for item in benchmarks:
        if products and "TFLOP/s" in item:
            item["of_ceiling"] = item["TFLOP/s"] / products[0]["TFLOP/s"]
    return {
        "measured_with": {key: context[key] for key in _VERSIONS if key in context}
        | ({"driver": driver} if driver else {}),
        "date": context.get("date"),
        "benchmarks": benchmarks,
    }


def _benchmark(item: dict[str, Any]) -> dict[str, Any]:
    """The name without Google Benchmark's endings, the numbers without its own indexes."""
    if item.get("error_occurred"):
        raise ParseError(f"{item['name']}: {item['error_message']}")
    indexes = ("family_index", "per_family_instance_index", "run_name", "run_type", "threads")
    indexes += ("repetitions", "repetition_index")
    kept = {key: value for key, value in item.items() if key not in indexes}
    return kept | {"name": item["name"].partition("/iterations:")[0]}


def lines_of(result: dict[str, Any], family: Family) -> list[str]:
    """What was not checked has no count of wrong elements."""
    rows = result["benchmarks"]
    facts = result["measured_with"] | {"ceiling": family.ceiling}
    return [*fact_lines(facts), "#", *table_lines(family.columns, rows), verdict(result)]


def verdict(result: dict[str, Any]) -> str:
    return verdict_line(result["benchmarks"], "#wrong")


def is_right(result: dict[str, Any]) -> bool:
    return not any(item.get("#wrong") for item in result["benchmarks"])
