"""Times the steps of the training program, and of its peer on the same GPUs."""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
from importlib import resources
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import typer

from runflat import bench_kernels
from runflat._core import GpuSampler, ParseError, train_world_size
from runflat.bench_power import power_facts, window_of
from runflat.bench_predict import predicted_ms
from runflat.bench_ranks import run_ranks
from runflat.bench_run import read_json_lines, require_gpus
from runflat.bench_table import Column, fact_lines, table_lines
from runflat.programs import program

_PEER = Path(str(resources.files("runflat"))) / "peer" / "peer_step.py"
_COLUMNS = (
    Column("who", "who", 10),
    Column("median ms", "median_ms", 11, ".2f"),
    Column("min ms", "min_ms", 11, ".2f"),
    Column("tokens/s", "tokens_per_s", 12, ",.0f"),
    Column("TFLOP/s/GPU", "tflops_per_gpu", 12, ".1f"),
    Column("MFU", "mfu", 8, ".2%"),
    Column("of ceiling", "of_gemm_ceiling", 10, ".2%"),
)


class TimedSteps(NamedTuple):
    header: dict[str, Any]  # of the training program's log
    records: list[dict[str, Any]]  # of the steps after warm-up
    power: dict[str, Any]


def time_training(
    config: Path, overrides: list[str], backend: str, steps: int, warmup: int
) -> TimedSteps:
    """Trains for so many steps. Exits as the training program does."""
    changed = [
        *overrides,
        f"training.train_iters={warmup + steps}",
        "training.eval_interval=0",
        "training.eval_iters=0",
        "optimizer={lr = 1e-4}",
        "data={mock_data = true}",
        f"log={{log_interval = {warmup + steps + 1}}}",
    ]
    world_size = train_world_size(config, changed)
    if backend == "cuda":
        require_gpus(world_size)
    with TemporaryDirectory(prefix="runflat-") as folder:
        log = Path(folder) / "steps.jsonl"
        # On the CPU all ranks are threads of one process.
        name, transport = (
            ("runflat-agent", "nccl") if backend == "cuda" else ("runflat-train", "loopback")
        )
        command = [str(program(name)), str(config), "--backend", backend]
        command += ["--transport", transport, "--log", str(log)]
        for assignment in changed:
            command += ["--set", assignment]
        sampler = GpuSampler(world_size if backend == "cuda" else 0)
        status = subprocess.run(command, check=False).returncode
        samples = sampler.stop()
        if status != 0:
            raise typer.Exit(status)
        header, *records = read_json_lines(log)
        records = records[warmup:]
        return TimedSteps(header, records, power_facts(samples, *window_of(log, records)))


def summary(records: list[dict[str, Any]]) -> dict[str, Any]:
    """Medians over steps. The rates are those of the median step."""
    times = [record["step_time_ms"] for record in records]
    median = statistics.median(times)
    first = records[0]
    scale = first["step_time_ms"] / median  # from the first step's rates to the median's
    return {
        "who": "runflat",
        "steps": len(times),
        "median_ms": median,
        "min_ms": min(times),
        "tokens_per_s": first["tokens"] / median * 1e3,
        "tflops_per_gpu": first["tflops_per_gpu"] * scale,
        "mfu": None if first["mfu"] is None else first["mfu"] * scale,
    }


def gemm_ceiling() -> float | None:
    """TFLOP/s of the largest matrix product on this GPU, measured now, where that can be built."""
    try:
        return bench_kernels.measure("^gemm_ceiling/")["benchmarks"][0]["TFLOP/s"]
    except ParseError:
        return None


def peer_arguments(plan: dict[str, Any]) -> list[str]:
    """The same work for peer_step.py. ParseError for what the peer cannot run."""
    model, sizes = plan["model"], plan["layout"]["sizes"]
    shares = {replica["num_microbatches"] for replica in plan["replicas"]}
    if model["family"] != "llama" or not model["untie_embeddings_and_output_weights"]:
        raise ParseError("--peer: the peer is a Llama with an output layer of its own")
    for axis, size in sizes.items():
        if axis not in ("data_parallel_size", "order") and size > 1:
            raise ParseError(f"--peer: the peer is data-parallel, and {axis} is {size}")
    if len(shares) > 1:
        raise ParseError("--peer: the peer gives all replicas the same number of microbatches")
    numbers = {
        "hidden": model["hidden_size"],
        "layers": model["num_layers"],
        "ffn": model["ffn_hidden_size"],
        "heads": model["num_attention_heads"],
        "groups": model["num_query_groups"],
        "head-dim": model["kv_channels"],
        "vocab": model["padded_vocab_size"],
        "seq": model["seq_length"],
        "micro-batch": plan["training"]["micro_batch_size"],
        "microbatches": shares.pop(),
    }
    return [f"--{name}={number}" for name, number in numbers.items()]


def require_peer(python: str) -> None:
    """ParseError where this Python does not have what the peer imports."""
    if shutil.which(python) is None:
        raise ParseError(f"--peer-python: {python}: not found")
    check = [python, "-c", "import torch, transformers"]
    if subprocess.run(check, capture_output=True).returncode != 0:
        raise ParseError(f"--peer: {python} cannot import torch and transformers")


def time_peer(python: str, header: dict[str, Any], steps: int, warmup: int) -> dict[str, Any]:
    arguments = peer_arguments(header["plan"])
    with TemporaryDirectory(prefix="runflat-") as folder:
        output = Path(folder) / "peer.json"
        command = [python, str(_PEER), *arguments, f"--steps={steps}", f"--warmup={warmup}"]
        command += [f"--meeting-file={Path(folder) / 'meeting'}", f"--json={output}"]
        if run_ranks(command, header["world_size"]) != 0 or not output.is_file():
            raise ParseError("--peer: the peer failed; what it said is above")
        return json.loads(output.read_text())


def result_of(
    timed: TimedSteps,
    ceiling: float | None,
    peer: dict[str, Any] | None,
    release: str | None = None,
) -> dict[str, Any]:
    """With a release, its prediction too."""
    header = timed.header
    step = summary(timed.records) | timed.power
    if ceiling is not None:
        step["of_gemm_ceiling"] = step["tflops_per_gpu"] / ceiling
    result = {
        "measured_with": {
            key: header[key]
            for key in ("runflat", "backend", "gpu", "gpu_versions")
            if key in header
        },
        "world_size": header["world_size"],
        "config": header["config"],
        "gemm_ceiling_tflops": ceiling,
        "step": step,
    }
    if release is not None:
        predicted = predicted_ms(header, release)
        error = predicted / step["median_ms"] - 1.0
        result["predicted"] = {"release": release, "step_time_ms": predicted, "error": error}
    if peer is not None:
        result["peer"] = peer
        result["times_peer"] = step["tflops_per_gpu"] / peer["tflops_per_gpu"]
    return result


def lines_of(result: dict[str, Any], plan: dict[str, Any], warmup: int) -> list[str]:
    rows = [result["step"]]
    lines = _fact_lines(result, plan, warmup)
    peer = result.get("peer")
    if peer:
        rows.append(
            {
                "who": "peer",
                "median_ms": peer["step_time_ms"],
                "tflops_per_gpu": peer["tflops_per_gpu"],
            }
        )
    predicted = result.get("predicted")
    if predicted:
        rows.append({"who": "predicted", "median_ms": predicted["step_time_ms"]})
    lines += ["#", *table_lines(_COLUMNS, rows)]
    if predicted:
        lines.append(f"# predicted over measured : {1.0 + predicted['error']:.3f}")
    if peer:
        lines.append(f"# runflat over peer : {result['times_peer']:.3f}")
    return lines


def _fact_lines(result: dict[str, Any], plan: dict[str, Any], warmup: int) -> list[str]:
    sizes, training, model = plan["layout"]["sizes"], plan["training"], plan["model"]
    axes = {"tp": "tensor_model", "pp": "pipeline_model", "dp": "data"}
    layout = ", ".join(f"{axis} {sizes[f'{name}_parallel_size']}" for axis, name in axes.items())
    inactive = sum(len(cell["inactive"]) for cell in plan["layout"]["cells"])
    ceiling, peer, step = result["gemm_ceiling_tflops"], result.get("peer"), result["step"]
    return fact_lines(
        {
            **result["measured_with"],
            "ranks": f"{result['world_size']} ({layout}, {inactive} inactive)",
            "model": f"{model['name']}, {model['num_layers']} layers, "
            f"hidden {model['hidden_size']}, sequences of {model['seq_length']}",
            "batch": f"{training['global_batch_size']} sequences, microbatches of "
            f"{training['micro_batch_size']}, {training['precision']}, "
            f"recompute {training['recompute']}",
            "steps": f"{step['steps']} after {warmup} of warm-up",
            "ceiling": ceiling and f"{ceiling:.0f} TFLOP/s, a matrix product of 8192^3",
            "power": step["power_watts"]
            and f"{step['power_watts']:.0f} W a GPU, SMs at {step['sm_clock_mhz']:.0f} MHz",
            "peer": peer
            and f"{peer['peer']}, torch {peer['torch']}, transformers {peer['transformers']}",
        }
    )
