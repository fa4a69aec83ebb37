"""Turns results of `runflat bench` into what `runflat calibrate` reads (sim/calibration.hpp)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from runflat._core import ParseError

_SMALLEST_MESSAGE = 1_000_000  # below, latency rules, which the model's two numbers do not follow
# Which benchmarks are points of which list; the sweeps of the same kernels are, too.
_KERNELS = {
    "gemm_forward": "gemm",
    "gemm_dgrad": "gemm",
    "gemm_wgrad": "gemm",
    "gemm_sustained": "gemm_sustained",
    "attention_forward": "attention_forward",
    "attention_backward": "attention_backward",
    "add": "stream",
}
_COLLECTIVES = ("all_reduce", "reduce_scatter", "all_gather")
_SHAPES = {
    "gemm": ("m", "n", "k"),
    "gemm_sustained": ("m", "n", "k"),
    "attention_forward": ("heads", "head_size", "queries", "keys"),
    "attention_backward": ("heads", "head_size", "queries", "keys"),
}
_SECONDS = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0}


def measured_document(
    results: Iterable[dict[str, Any]], gpu: str, name: str, release: str = ""
) -> dict[str, Any]:
    """The document for all points of these results, of which each is one run of `runflat bench`.
    `gpu` and `release` are the parameters to start from, `name` the release to write. ParseError
    without a point."""
    lists: dict[str, list[dict[str, Any]]] = {}
    measured_with: dict[str, str] = {}
    for result in results:
        measured_with |= {key: str(value) for key, value in _versions(result).items()}
        for kind, point in _points(result):
            lists.setdefault(kind, []).append(point)
    if not lists:
        raise ParseError("no measurement of these files is one that calibrate knows")
    start = {"gpu": gpu} | ({"release": release} if release else {})
    return {"schema": 1, **start, "name": name, "measured_with": measured_with, **lists}


def _versions(result: dict[str, Any]) -> dict[str, Any]:
    facts = result.get("measured_with", {})
    return {key: value for key, value in facts.items() if key not in ("ranks", "type")}


def _points(result: dict[str, Any]) -> Iterable[tuple[str, dict[str, Any]]]:
    for item in result.get("benchmarks", []):
        kind = _KERNELS.get(item["name"].partition("/")[0].removeprefix("sweep_"))
        if kind is not None:
            seconds = item["real_time"] * _SECONDS[item["time_unit"]]
            yield kind, _shape(kind, item) | {"seconds": seconds}
    for item in result.get("measurements", []):
        if item.get("collective") in _COLLECTIVES and item["bytes"] >= _SMALLEST_MESSAGE:
            ranks = result["measured_with"]["ranks"]
            point = {"ranks": ranks, "bytes": item["bytes"], "seconds": item["seconds"]}
            yield item["collective"], point


def _shape(kind: str, item: dict[str, Any]) -> dict[str, Any]:
    try:
        if kind == "stream":
            return {"bytes": round(item["MB"] * 1e6), "kernels": 1}
        return {key: round(item[key]) for key in _SHAPES[kind]}
    except KeyError as missing:
        raise ParseError(f"{item['name']}: has no {missing.args[0]}") from None
