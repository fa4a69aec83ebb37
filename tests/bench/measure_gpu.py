"""Times kernels and all-reduces of this machine's GPUs with torch, for `runflat calibrate`.

    python3 tests/bench/measure_gpu.py --gpu h200 -o measured.json
    runflat calibrate measured.json -o sim/hardware/h200_mine.toml

Random data, CUDA events, the median of the timed runs after warm-up. Needs torch with CUDA; the
all-reduces run on 2 to all GPUs of the machine, one process each.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch.nn.functional import scaled_dot_product_attention

GEMM_TOKENS = (512, 1024, 2048, 4096, 8192, 16384)
# (n, k) of the projections of models of hidden 2048 to 8192, whole and divided by TP.
GEMM_WEIGHTS = (
    (3072, 2048), (2048, 2048), (16384, 2048), (2048, 8192),
    (6144, 4096), (4096, 4096), (28672, 4096), (4096, 14336), (14336, 4096), (4096, 7168),
    (10240, 8192), (8192, 8192), (57344, 8192), (8192, 28672), (1280, 8192), (8192, 1024),
)  # fmt: skip
STREAM_MIB = (1, 4, 16, 64, 256, 1024)
# (sequences, heads, queries)
ATTENTION = (
    (1, 8, 2048),
    (1, 32, 2048),
    (1, 32, 4096),
    (2, 32, 4096),
    (1, 64, 8192),
    (1, 16, 16384),
)
ALL_REDUCE_MIB = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


def seconds_of(run: Callable[[], object], repeats: int = 20) -> float:
    """Median time of one call."""
    for _ in range(5):
        run()
    times = []
    for _ in range(repeats):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        run()
        end.record()
        end.synchronize()
        times.append(begin.elapsed_time(end) * 1e-3)
    return statistics.median(times)


def random(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, device="cuda", dtype=torch.bfloat16)


def measure_gemm() -> list[dict[str, float]]:
    rows = []
    for n, k in GEMM_WEIGHTS:
        weight = random(n, k)
        for m in GEMM_TOKENS:
            product = partial(torch.matmul, random(m, k), weight.T)
            rows.append({"m": m, "n": n, "k": k, "seconds": seconds_of(product)})
    return rows


def stream_row(mib: int) -> dict[str, float]:
    """c = a + b on parts of buffers larger than the L2 cache: three bytes moved for one stored."""
    num_parts = max(2, 512 // mib)
    size = mib * 2**19
    a, b, c = (random(num_parts * size).view(num_parts, size) for _ in range(3))
    turn = iter(range(10**9))

    def add() -> None:
        part = next(turn) % num_parts
        torch.add(a[part], b[part], out=c[part])

    return {"bytes": 3 * mib * 2**20, "kernels": 1, "seconds": seconds_of(add, 50)}


def attention_rows(sequences: int, heads: int, length: int) -> list[dict[str, float]]:
    """A forward and a backward pass."""
    q, k, v = (random(sequences, heads, length, 128).requires_grad_() for _ in range(3))
    shape = {"heads": sequences * heads, "head_size": 128, "queries": length, "keys": length}

    def attend() -> torch.Tensor:
        return scaled_dot_product_attention(q, k, v, is_causal=True)

    out = attend()
    grad = torch.randn_like(out)

    def gradients() -> tuple[torch.Tensor, ...]:
        return torch.autograd.grad(out, (q, k, v), grad, retain_graph=True)

    return [{**shape, "seconds": seconds_of(run)} for run in (attend, gradients)]


def measure_attention() -> dict[str, list[dict[str, float]]]:
    forward, backward = zip(*(attention_rows(*shape) for shape in ATTENTION), strict=True)
    return {"attention_forward": list(forward), "attention_backward": list(backward)}


def all_reduce_rank(rank: int, num_ranks: int, port: int, path: str) -> None:
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.cuda.set_device(rank)
    dist.init_process_group("nccl", rank=rank, world_size=num_ranks)
    rows = []
    for mib in ALL_REDUCE_MIB:
        buffer = random(mib * 2**19)
        seconds = seconds_of(partial(dist.all_reduce, buffer))
        rows.append({"ranks": num_ranks, "bytes": mib * 2**20, "seconds": seconds})
    if rank == 0:
        Path(path).write_text(json.dumps(rows))
    dist.destroy_process_group()


def measure_all_reduce(scratch: Path) -> list[dict[str, float]]:
    rows: list[dict[str, float]] = []
    for num_ranks in range(2, torch.cuda.device_count() + 1):
        mp.spawn(
            all_reduce_rank, args=(num_ranks, 29500 + num_ranks, str(scratch)), nprocs=num_ranks
        )
        rows += json.loads(scratch.read_text())
        scratch.unlink()
    return rows


def versions() -> dict[str, str]:
    driver = os.popen("nvidia-smi --query-gpu=driver_version --format=csv,noheader").read()
    return {
        "gpu": f"{torch.cuda.device_count()} x {torch.cuda.get_device_name()}",
        "driver": driver.split("\n")[0],
        "torch": torch.__version__,
        "cuda": str(torch.version.cuda),
        "nccl": ".".join(map(str, torch.cuda.nccl.version())),
        "cudnn": str(torch.backends.cudnn.version()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gpu", required=True, help="hardware to start from, as in sim/hardware")
    parser.add_argument("--name", default="mine", help="release name of the parameter file")
    parser.add_argument("-o", dest="output", type=Path, required=True)
    args = parser.parse_args()
    measured: dict[str, Any] = {
        "schema": 1,
        "gpu": args.gpu,
        "name": args.name,
        "measured_with": versions(),
        "all_reduce": measure_all_reduce(args.output.with_suffix(".part")),
        "gemm": measure_gemm(),
        "stream": [stream_row(mib) for mib in STREAM_MIB],
        **measure_attention(),
    }
    if not measured["all_reduce"]:
        del measured["all_reduce"]
    args.output.write_text(json.dumps(measured, indent=1) + "\n")


if __name__ == "__main__":
    main()
