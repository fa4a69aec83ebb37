"""The tables that `runflat step` prints."""

from __future__ import annotations

from typing import Any

from rich.console import Group
from rich.table import Table

from runflat.formats import percent

_PARTS = {
    "gemm": "matrix multiplication",
    "attention": "attention",
    "memory_bound": "memory-bound kernels",
    "host": "launches that the GPU waits for",
    "tensor": "tensor-parallel communication",
    "context": "context-parallel communication",
    "expert": "expert-parallel communication",
    "pipeline": "pipeline sends",
    "data": "data-parallel communication",
    "reshard": "resharding between replicas",
    "bubble": "pipeline bubble",
    "straggler": "waiting for the slowest node",
    "optimizer": "optimizer",
}
_STATE = ("parameters", "gradients", "optimizer", "activations", "buffers")


def step_summary(step: dict[str, Any]) -> Group:
    lines = (
        f"step {step['step_time_s']:.3f} s by the closed form, "
        f"{step['simulated_step_time_s']:.3f} s simulated, on {step['num_gpus']:,} "
        f"{step['gpu']} with {step['release']}",
        f"{step['tokens_per_s']:,.0f} tokens/s, {step['tokens_per_s_per_gpu']:,.0f} per GPU, "
        f"{step['model_tflops_per_gpu']:.0f} TFLOP/s per GPU, MFU {percent(step['mfu'], 1)}",
        "",
    )
    return Group("\n".join(lines), _time_table(step["replicas"]), "", _memory_table(step))


def _columns(table: Table, replicas: list[dict[str, Any]]) -> Table:
    for replica in replicas:
        table.add_column(
            f"{replica['num_replicas']} x TP{replica['tp']}, "
            f"{replica['num_microbatches']} microbatches",
            justify="right",
        )
    return table


def _time_table(replicas: list[dict[str, Any]]) -> Table:
    table = Table(title="Where the time goes (exposed parts, busiest stage)", **_STYLE)
    table.add_column("part")
    _columns(table, replicas)
    for part, label in _PARTS.items():
        times = [replica["breakdown_s"][part] for replica in replicas]
        if any(times):
            cells = (
                f"{1e3 * time:,.1f} ms {percent(time / replica['step_time_s'], 1):>7}"
                for time, replica in zip(times, replicas, strict=True)
            )
            table.add_row(label, *cells)
    totals = (f"{1e3 * replica['step_time_s']:,.1f} ms 100.0 %" for replica in replicas)
    table.add_row("step", *totals, style="bold")
    return table


def _memory_table(step: dict[str, Any]) -> Table:
    table = Table(title="Memory of the fullest GPU (GiB)", **_STYLE)
    table.add_column("what")
    _columns(table, step["replicas"])
    fullest = [_fullest_stage(replica["memory_bytes"]) for replica in step["replicas"]]
    for part in _STATE:
        table.add_row(part, *(f"{stage[part] / 2**30:.1f}" for stage in fullest))
    table.add_row("all", *(f"{stage['total'] / 2**30:.1f}" for stage in fullest), style="bold")
    fits = ("yes" if replica["memory_bytes"]["fits"] else "NO" for replica in step["replicas"])
    table.add_row("fits", *fits)
    return table


def _fullest_stage(memory: dict[str, Any]) -> dict[str, float]:
    return max(memory["first_stage"], memory["last_stage"], key=lambda stage: stage["total"])


_STYLE: dict[str, Any] = {
    "title_justify": "left",
    "title_style": "bold",
    "box": None,
    "pad_edge": False,
}
