"""The simulator predicts the steps that were measured on GPUs, from kernels measured on them."""

from __future__ import annotations

import json
import re
import statistics
from pathlib import Path
from typing import Any

import pytest

from runflat import _core
from runflat.bench_predict import hardware_of, predicted_ms

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "tests" / "bench" / "results"
MEASURED = RESULTS / "h100_x2_measured.json"
STEPS: list[dict[str, Any]] = json.loads((RESULTS / "h100_x2_predicted.json").read_text())["steps"]
RELEASE = "runflat"
ALLOWED = 0.05
# What a list of measurements is fitted to.
FITTED = {
    "gemm": ("gemm.half_depth", "gemm.tail_waves"),
    "gemm_sustained": ("gemm.efficiency",),
    "stream": ("streaming.efficiency",),
    "attention_forward": (
        "attention.forward_efficiency",
        "attention.forward_half_length",
        "attention.forward_half_size",
    ),
    "attention_backward": (
        "attention.backward_efficiency",
        "attention.backward_half_length",
        "attention.backward_half_size",
    ),
    "all_reduce": ("domain.latency_us", "domain.ramp_us", "domain.gb_per_s"),
    "reduce_scatter": ("domain.half_latency_us", "domain.half_gb_per_s"),
}


def number(text: str, key: str) -> float:
    """A number of a parameter file."""
    table, _, name = key.partition(".")
    below = text.partition(f"[{table}]\n")[2].partition("\n[")[0]
    return float(re.search(rf"^{name} = (\S+)", below, re.M)[1])


@pytest.mark.parametrize("kind", FITTED)
def test_the_shipped_parameters_are_what_calibrate_makes_of_the_measurements(kind: str) -> None:
    shipped = (ROOT / "sim" / "hardware" / "h100_runflat.toml").read_text()
    fitted = _core.calibrate(MEASURED)
    assert json.loads(MEASURED.read_text())[kind]
    for key in FITTED[kind]:
        assert number(shipped, key) == pytest.approx(number(fitted, key), rel=1e-5, abs=1e-9), key


@pytest.mark.parametrize("row", STEPS, ids=lambda row: row["name"])
def test_a_measured_step_is_predicted(row: dict[str, Any]) -> None:
    predicted = predicted_ms(row["header"], RELEASE)
    assert predicted == pytest.approx(row["predicted_ms"], rel=1e-3)  # the table is up to date
    assert predicted == pytest.approx(row["step_time_ms"], rel=ALLOWED)


def test_there_are_rows_of_every_kind_of_parallelism() -> None:
    def sizes(axis: str) -> set[int]:
        plans = (row["header"]["plan"] for row in STEPS)
        return {plan["layout"]["sizes"][f"{axis}_parallel_size"] for plan in plans}

    assert len(STEPS) >= 12
    for axis in ("data", "tensor_model", "pipeline_model", "virtual_pipeline_model"):
        assert sizes(axis) == {1, 2}
    assert statistics.fmean(abs(row["error"]) for row in STEPS) <= ALLOWED / 2


def test_a_gpu_has_the_name_of_its_parameters() -> None:
    assert hardware_of("NVIDIA H100 80GB HBM3") == "h100"
    assert hardware_of("NVIDIA H200") == "h200"
    assert hardware_of("NVIDIA GB200") == "gb200"
    with pytest.raises(_core.ParseError, match="no parameters for the GPU of the host"):
        hardware_of("")
