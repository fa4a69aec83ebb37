"""`runflat bench`: tables on recorded measurements, runs on the CPU, words without a GPU."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import Run

from runflat import ParseError, _core, bench_calibration, bench_comm, bench_kernels, bench_step
from runflat.bench_power import power_facts
from runflat.bench_table import Column, table_lines
from runflat.train_command import config_file

HAS_GPU = _core.count_gpus() > 0
needs_no_gpu = pytest.mark.skipif(HAS_GPU, reason="this machine has a GPU")

# Of a run of runflat-kernel-bench on an H100; the ceiling is round.
KERNELS: dict[str, Any] = {
    "context": {
        "date": "2026-11-25T21:07:03+00:00",
        "num_cpus": 16,
        "gpu": "NVIDIA H100 80GB HBM3",
        "cuda": "13.0",
        "copy_GB/s": "2989.0",
    },
    "benchmarks": [
        {
            "name": "gemm_ceiling/8192x8192x8192/iterations:20/manual_time",
            "run_type": "iteration",
            "iterations": 100,
            "real_time": 1374.389534720,
            "cpu_time": 1380.0,
            "time_unit": "us",
            "#wrong": 0.0,
            "TFLOP/s": 800.0,
            "m": 8192.0,
            "n": 8192.0,
            "k": 8192.0,
        },
        {
            "name": "gemm_forward/1.5B/qkv/iterations:20/manual_time",
            "run_type": "iteration",
            "iterations": 99,
            "real_time": 298.39293574874023,
            "cpu_time": 2094.86847474748,
            "time_unit": "us",
            "#wrong": 0.0,
            "TFLOP/s": 690.8958139062458,
            "m": 16384.0,
            "n": 3072.0,
            "k": 2048.0,
        },
        {
            "name": "sweep_attention_backward/2x32x4096/iterations:20/manual_time",
            "run_type": "iteration",
            "iterations": 18,
            "real_time": 1.5587407394691754,
            "cpu_time": 4.6,
            "time_unit": "ms",
            "#wrong": 0.0,
            "TFLOP/s": 440.86534082250404,
            "heads": 64.0,
            "head_size": 128.0,
            "queries": 4096.0,
            "keys": 4096.0,
        },
        {
            "name": "add/8192x8192/iterations:20/manual_time",
            "run_type": "iteration",
            "iterations": 206,
            "real_time": 135.185281049858,
            "cpu_time": 547.6877038834984,
            "time_unit": "us",
            "#wrong": 0.0,
            "GB/s": 2978.5282900103343,
            "MB": 402.653184,
            "of_copy": 0.9964990428341123,
        },
    ],
}

HEADER: dict[str, Any] = {
    "runflat": "0.1.0",
    "backend": "cuda",
    "gpu": "NVIDIA H200",
    "gpu_versions": "NCCL 2.28.9",
    "world_size": 2,
    "config": {},
    "plan": {
        "model": {
            "name": "llama-1.5b",
            "family": "llama",
            "num_layers": 16,
            "hidden_size": 2048,
            "ffn_hidden_size": 8192,
            "num_attention_heads": 32,
            "num_query_groups": 8,
            "kv_channels": 64,
            "seq_length": 4096,
            "padded_vocab_size": 128256,
            "untie_embeddings_and_output_weights": True,
        },
        "layout": {
            "sizes": {
                "tensor_model_parallel_size": 1,
                "pipeline_model_parallel_size": 1,
                "data_parallel_size": 2,
                "order": "tp-cp-ep-dp-pp",
            },
            "cells": [{"inactive": []}, {"inactive": []}],
        },
        "training": {
            "micro_batch_size": 4,
            "global_batch_size": 8,
            "precision": "bf16",
            "recompute": "none",
        },
        "replicas": [{"num_microbatches": 1}, {"num_microbatches": 1}],
    },
}
PEER = {
    "peer": "transformers + torch.compile + DDP",
    "torch": "2.11.0",
    "transformers": "5.0",
    "step_time_ms": 400.0,
    "tflops_per_gpu": 400.0,
}


def step_record(milliseconds: float) -> dict[str, Any]:
    """Steps of the same work: 32768 tokens, 160 TFLOP per GPU, of a peak of 1000 TFLOP/s."""
    tflops = 160.0 / milliseconds * 1e3
    return {
        "tokens": 32768,
        "step_time_ms": milliseconds,
        "tflops_per_gpu": tflops,
        "mfu": tflops / 1000.0,
    }


def cells(lines: list[str], first: str) -> list[str]:
    (line,) = (line for line in lines if line.split()[:1] == [first])
    return line.split()


def test_columns_line_up_and_what_is_missing_is_a_dash() -> None:
    columns = (Column("name", "name", 6), Column("GB/s", "rate", 8, ".1f"))
    rows = [{"name": "a", "rate": 12.34}, {"name": "b"}]
    assert table_lines(columns, rows) == [
        "# name       GB/s",
        "  a          12.3",
        "  b             -",
    ]


def test_kernels_are_told_with_their_share_of_the_ceiling_in_the_same_run() -> None:
    result = bench_kernels.result_of(KERNELS, "580.159.04")
    lines = bench_kernels.lines_of(result, bench_kernels.FAMILIES["gemm"])
    assert "# gpu: NVIDIA H100 80GB HBM3" in lines and "# driver: 580.159.04" in lines
    assert cells(lines, "gemm_forward/1.5B/qkv")[1:] == ["298.4", "690.9", "86.4%", "0"]
    lines = bench_kernels.lines_of(result, bench_kernels.FAMILIES["kernels"])
    assert cells(lines, "add/8192x8192")[1:] == ["402.7", "135.2", "2979", "99.6%", "0"]
    assert lines[-1] == "# Out of bounds values : 0 OK"


def test_wrong_elements_are_counted_and_fail() -> None:
    wrong = [KERNELS["benchmarks"][0], {**KERNELS["benchmarks"][1], "#wrong": 3.0}]
    result = bench_kernels.result_of({**KERNELS, "benchmarks": wrong}, "")
    assert bench_kernels.verdict(result) == "# Out of bounds values : 3 FAILED"
    assert not bench_kernels.is_right(result)


def test_a_benchmark_that_failed_is_an_error() -> None:
    failed = {"name": "x", "error_occurred": True, "error_message": "out of memory"}
    with pytest.raises(ParseError, match="x: out of memory"):
        bench_kernels.result_of({**KERNELS, "benchmarks": [failed]}, "")


def test_a_step_is_its_median() -> None:
    records = [step_record(time) for time in (400.0, 320.0, 300.0)]
    step = bench_step.summary(records)
    assert (step["median_ms"], step["min_ms"]) == (320.0, 300.0)
    assert step["tokens_per_s"] == pytest.approx(102_400)
    assert step["tflops_per_gpu"] == pytest.approx(500.0) and step["mfu"] == pytest.approx(0.5)


def test_a_step_is_told_beside_its_peer() -> None:
    samples = [(0.9, 0, 1.0, 1.0), (1.1, 0, 650.0, 1500.0), (1.2, 1, 690.0, 1400.0)]
    power = power_facts(samples, begin=1.0, end=2.0)
    timed = bench_step.TimedSteps(HEADER, [step_record(320.0)], power)
    result = bench_step.result_of(timed, 800.0, PEER)
    lines = bench_step.lines_of(result, HEADER["plan"], warmup=5)
    assert "# gpu: NVIDIA H200" in lines and "# ranks: 2 (tp 1, pp 1, dp 2, 0 inactive)" in lines
    assert cells(lines, "runflat")[1:] == (
        ["320.00", "320.00", "102,400", "500.0", "50.00%", "62.50%"]
    )
    assert cells(lines, "peer")[1:] == ["400.00", "-", "-", "400.0", "-", "-"]
    assert "# power: 670 W a GPU, SMs at 1450 MHz" in lines
    assert lines[-1] == "# runflat over peer : 1.250"


def test_the_peer_gets_the_same_model_and_batch() -> None:
    assert bench_step.peer_arguments(HEADER["plan"]) == [
        *("--hidden=2048", "--layers=16", "--ffn=8192", "--heads=32", "--groups=8"),
        *("--head-dim=64", "--vocab=128256", "--seq=4096", "--micro-batch=4", "--microbatches=1"),
    ]


@pytest.fixture
def stand_in(tmp_path: Path) -> Path:
    """In place of a Python with torch: every rank writes what it was told, rank 0 as the peer."""
    script = tmp_path / "python"
    script.write_text(
        f"#!{sys.executable}\n"
        "import json, os, sys\n"
        "options = dict(word[2:].split('=') for word in sys.argv[2:])\n"
        "if os.environ['RANK'] == '0':\n"
        f"    result = {PEER!r} | options | {{'script': sys.argv[1]}}\n"
        "    open(options['json'], 'w').write(json.dumps(result))\n"
        "sys.exit(int(options['hidden']) == 666)\n"
    )
    script.chmod(0o755)
    return script


def test_the_peer_runs_as_many_ranks_and_steps(stand_in: Path) -> None:
    peer = bench_step.time_peer(str(stand_in), HEADER, steps=7, warmup=2)
    assert Path(peer["script"]).is_file()
    assert (peer["hidden"], peer["steps"], peer["warmup"]) == ("2048", "7", "2")
    assert peer["tflops_per_gpu"] == PEER["tflops_per_gpu"]


def test_a_peer_that_fails_is_an_error(stand_in: Path, capfd: pytest.CaptureFixture[str]) -> None:
    plan = HEADER["plan"] | {"model": HEADER["plan"]["model"] | {"hidden_size": 666}}
    with pytest.raises(ParseError, match="the peer failed"):
        bench_step.time_peer(str(stand_in), HEADER | {"plan": plan}, steps=1, warmup=0)
    assert "ended with status 1" in capfd.readouterr().err


@pytest.mark.parametrize("ranks", [1, 4])
@pytest.mark.parametrize("name", ["llama-1.5b-bench", "llama3-8b-8layers-bench"])
def test_shipped_configurations_take_a_layout(name: str, ranks: int) -> None:
    layout = f"layout={{data_parallel_size = {ranks}}}"
    overrides = [layout, f"training.global_batch_size={4 * ranks}"]
    assert _core.train_world_size(config_file(name), overrides) == ranks


def test_what_the_peer_cannot_run_is_refused() -> None:
    def changed(table: str, **values: Any) -> dict[str, Any]:
        plan = json.loads(json.dumps(HEADER["plan"]))
        (plan["layout"]["sizes"] if table == "sizes" else plan[table]).update(values)
        return plan

    with pytest.raises(ParseError, match="tensor_model_parallel_size is 2"):
        bench_step.peer_arguments(changed("sizes", tensor_model_parallel_size=2))
    with pytest.raises(ParseError, match="a Llama"):
        bench_step.peer_arguments(changed("model", family="gpt"))
    uneven = HEADER["plan"] | {"replicas": [{"num_microbatches": 1}, {"num_microbatches": 2}]}
    with pytest.raises(ParseError, match="same number of microbatches"):
        bench_step.peer_arguments(uneven)


def test_results_become_what_calibrate_reads(tmp_path: Path, run: Run) -> None:
    kernels = bench_kernels.result_of(KERNELS, "580.159.04")
    all_reduce = {"collective": "all_reduce", "bytes": 4 << 20, "seconds": 5e-5, "wrong": 0}
    log = [
        {"runflat": "0.1.0", "gpu": "NVIDIA H100 80GB HBM3", "ranks": 8, "type": "fp32"},
        all_reduce,
        {**all_reduce, "bytes": 1024},  # too small for a bandwidth
        {**all_reduce, "collective": "all_gather"},
    ]
    files = []
    for name, result in (("k.json", kernels), ("c.json", bench_comm.result_of(log, ""))):
        (tmp_path / name).write_text(json.dumps(result))
        files.append(name)
    done = run("bench", "calibrate", *files, "--gpu", "h100", "-o", "measured.json")
    assert done.returncode == 0, done.stderr
    measured = json.loads((tmp_path / "measured.json").read_text())
    assert measured["measured_with"]["driver"] == "580.159.04"
    (gemm,), (stream,) = measured["gemm"], measured["stream"]
    assert gemm == {"m": 16384, "n": 3072, "k": 2048, "seconds": pytest.approx(298.39e-6, rel=1e-4)}
    assert stream["bytes"] == 402_653_184 and stream["kernels"] == 1
    (backward,) = measured["attention_backward"]
    assert backward == {
        **{"heads": 64, "head_size": 128, "queries": 4096, "keys": 4096},
        "seconds": pytest.approx(1.5587e-3, rel=1e-4),
    }
    assert measured["all_reduce"] == [{"ranks": 8, "bytes": 4 << 20, "seconds": 5e-5}]
    assert measured["all_gather"] == measured["all_reduce"] and "reduce_scatter" not in measured
    assert "attention_forward" not in measured
    fitted = run("calibrate", "measured.json")
    assert fitted.returncode == 0, fitted.stderr
    assert re.search(r"580\.159\.04", fitted.stdout)


def test_results_without_a_point_are_refused() -> None:
    with pytest.raises(ParseError, match="no measurement"):
        bench_calibration.measured_document([{"benchmarks": []}], "h100", "mine")


def test_a_step_is_timed_on_the_cpu(run: Run, tmp_path: Path) -> None:
    done = run(
        *("bench", "step", "tiny-gpt-mock", "--backend", "cpu"),
        *("--steps", "3", "--warmup", "1", "--json", "step.json"),
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert "# ranks: 4 (tp 2, pp 2, dp 1, 0 inactive)" in lines
    result = json.loads((tmp_path / "step.json").read_text())
    assert result["step"]["steps"] == 3 and result["step"]["mfu"] is None
    assert result["step"]["power_watts"] is None and result["step"]["sm_clock_mhz"] is None
    assert 0 < result["step"]["min_ms"] <= result["step"]["median_ms"]
    rate = 8 * 32 / result["step"]["median_ms"] * 1e3  # 8 sequences of 32 tokens
    assert result["step"]["tokens_per_s"] == pytest.approx(rate)
    assert cells(lines, "runflat")[1] == f"{result['step']['median_ms']:.2f}"


def test_recoveries_are_timed_on_the_cpu(run: Run, tmp_path: Path) -> None:
    arguments = ("tiny-gpt-drill", "--backend", "cpu", "--count", "2", "--spacing", "2")
    done = run("bench", "recovery", *arguments, "--json", "out.json")
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "out.json").read_text())
    reasons = [recovery["reason"] for recovery in result["recoveries"]]
    assert "; ".join(reasons) == "lost 5; joined by 5; lost 4; joined by 4"
    assert all(recovery["rung"] == "in_place" for recovery in result["recoveries"])
    counts = [line.split()[:2] for line in done.stdout.splitlines() if line[0] != "#"]
    assert next(what for what, _ in counts) == "lost"
    lost = [recovery for recovery in result["recoveries"] if recovery["cause"] == "exit"]
    for recovery in lost:
        spans = dict(recovery["spans_ms"])
        spans.pop("redo")
        assert sum(spans.values()) == pytest.approx(recovery["total_ms"], abs=1.0)
        assert recovery["after_kill_ms"] > recovery["total_ms"] - 1.0


def test_collectives_of_threads_are_timed_and_right(run: Run) -> None:
    sizes = ("--min-bytes", "1024", "--max-bytes", "16384")
    done = run("bench", "comm", "--transport", "loopback", "--ranks", "4", *sizes)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    rows = [line.split() for line in lines if not line.startswith("#")]
    assert [row[0] for row in rows] == ["1024", "4096", "16384"] * 4
    assert all(row[2] == "fp32" and row[-1] == "0" for row in rows)
    for row in rows[6:9]:  # all_gather: every rank brings a quarter
        assert int(row[1]) * 4 * 4 == int(row[0])
    assert lines[-1] == "# Out of bounds values : 0 OK"
    assert sum("busbw = algbw * 2(n-1)/n" in line for line in lines) == 1


def test_a_model_is_resharded_by_threads_and_back(run: Run, tmp_path: Path) -> None:
    done = run(
        *("bench", "reshard", "tiny-llama-ntp", "--transport", "loopback", "--ranks", "4"),
        *("--json", "reshard.json"),
    )
    assert done.returncode == 0, done.stderr
    assert "# maps: computes at TP 4, synchronises at TP 3" in done.stdout.splitlines()
    rows = json.loads((tmp_path / "reshard.json").read_text())["measurements"]
    assert [row["direction"] for row in rows] == ["to_sync", "to_compute"] * 4
    assert not any(row["wrong"] for row in rows)


@needs_no_gpu
@pytest.mark.parametrize(
    "arguments",
    [
        ("kernels",),
        ("gemm",),
        ("attention",),
        ("comm",),
        ("reshard",),
        ("step", "llama-1.5b-bench"),
        ("step", "llama3-8b-8layers-bench", "--peer"),
        ("calibrate", "--gpu", "h200"),
    ],
    ids=" ".join,
)
def test_without_a_gpu_one_line_says_so(run: Run, arguments: tuple[str, ...]) -> None:
    done = run("bench", *arguments)
    assert done.returncode == 2 and done.stdout == ""
    assert re.fullmatch(r"runflat: no GPU: .*\n", done.stderr)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("step", "tiny-gpt-mock", "--backend", "cpu", "--peer"), "--peer: the peer runs on GPUs"),
        (
            ("step", "tiny-gpt-mock", "--backend", "cpu", "--release", "runflat"),
            "not of --backend cpu",
        ),
        (("step", "no-such"), "expected a .toml or .json file, or one of"),
        (("comm", "--transport", "smoke"), "--transport: expected nccl or loopback, found smoke"),
        (("calibrate", "missing.json", "--gpu", "h200"), "missing.json: No such file"),
    ],
)
def test_bad_input_is_one_line(run: Run, arguments: tuple[str, ...], reason: str) -> None:
    done = run("bench", *arguments)
    assert done.returncode == 2 and done.stdout == ""
    assert reason in done.stderr and done.stderr.count("\n") == 1
