"""`runflat bench`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from runflat import bench_comm, bench_kernels, bench_recovery, bench_step, options
from runflat._core import ParseError
from runflat.bench_calibration import measured_document
from runflat.bench_run import publish, require_gpus
from runflat.outputs import write_text
from runflat.train_command import config_file

bench_app = typer.Typer(name="bench", no_args_is_help=True, help="Time this machine.")

_WRONG_RESULTS = 1
_Json = Annotated[
    str | None, typer.Option("--json", metavar="FILE", help="Write the numbers; - is stdout.")
]
_Transport = Annotated[
    str, typer.Option(help="nccl: a process per GPU; loopback: threads on the CPU.")
]
_Ranks = Annotated[
    int | None, typer.Option(min=2, max=64, help="How many; by default all GPUs, or 2 threads.")
]
_Bytes = Annotated[int, typer.Option(min=1, max=1 << 36, metavar="BYTES")]


@bench_app.command("step")
def step_command(
    config: Annotated[
        str, typer.Argument(help="A TOML or JSON file, or the name of a shipped configuration.")
    ],
    overrides: options.Overrides = None,
    backend: Annotated[str, typer.Option(help="What ranks compute on: cpu, cuda.")] = "cuda",
    steps: Annotated[int, typer.Option(min=1, max=100_000, help="Steps to time.")] = 20,
    warmup: Annotated[int, typer.Option(min=0, max=100_000, help="Steps before them.")] = 5,
    release: Annotated[
        str | None,
        typer.Option(help="Predict the step, too, with the parameters of this software release."),
    ] = None,
    peer: Annotated[
        bool, typer.Option("--peer", help="Hugging Face + torch.compile too, on the same GPUs.")
    ] = False,
    peer_python: Annotated[
        str, typer.Option(metavar="PYTHON", help="Which has torch and transformers.")
    ] = "python3",
    json_file: _Json = None,
) -> None:
    """Time the training steps of a configuration on made-up data."""
    if peer:
        _require_peer(backend, peer_python)
    if release is not None and backend != "cuda":
        raise ParseError(
            "--release: the simulator prices steps of GPUs, not of --backend " + backend
        )
    path = config_file(config)
    timed = bench_step.time_training(path, overrides or [], backend, steps, warmup)
    ceiling = bench_step.gemm_ceiling() if backend == "cuda" else None
    other = bench_step.time_peer(peer_python, timed.header, steps, warmup) if peer else None
    result = bench_step.result_of(timed, ceiling, other, release)
    publish(result, bench_step.lines_of(result, timed.header["plan"], warmup), json_file)


def _require_peer(backend: str, python: str) -> None:
    if backend != "cuda":
        raise ParseError("--peer: the peer runs on GPUs, and --backend is " + backend)
    require_gpus()
    bench_step.require_peer(python)


def _kernel_command(name: str, text: str) -> Callable[[str | None], None]:
    family = bench_kernels.FAMILIES[name]

    def command(json_file: _Json = None) -> None:
        result = bench_kernels.measure(family.filter)
        publish(result, bench_kernels.lines_of(result, family), json_file)
        _exit(bench_kernels.is_right(result))

    command.__doc__ = text
    return command


for _name, _text in (
    ("kernels", "Time the memory-bound kernels."),
    ("gemm", "Time the matrix products of two models."),
    ("attention", "Time the attention of two models."),
):
    bench_app.command(_name)(_kernel_command(_name, _text))


@bench_app.command("comm")
def comm_command(
    transport: _Transport = "nccl",
    ranks: _Ranks = None,
    min_bytes: _Bytes = 1 << 10,
    max_bytes: _Bytes = 1 << 30,
    json_file: _Json = None,
) -> None:
    """Time collectives, in sizes that grow by a factor of 4."""
    sizes = ["--min-bytes", str(min_bytes), "--max-bytes", str(max_bytes)]
    result = bench_comm.measure(transport, ranks, sizes)
    publish(result, bench_comm.collective_lines(result), json_file)
    _exit(bench_comm.is_right(result))


@bench_app.command("reshard")
def reshard_command(
    config: Annotated[
        str, typer.Argument(help="The configuration whose model's buckets are moved.")
    ] = "llama3-8b-8layers-bench",
    transport: _Transport = "nccl",
    ranks: _Ranks = None,
    json_file: _Json = None,
) -> None:
    """Time a model's gradients on their way from TP n to n - 1, and its parameters back."""
    result = bench_comm.measure(transport, ranks, ["--reshard", str(config_file(config))])
    publish(result, bench_comm.reshard_lines(result, config), json_file)
    _exit(bench_comm.is_right(result))


@bench_app.command("recovery")
def recovery_command(
    config: Annotated[
        str, typer.Argument(help="A TOML or JSON file, or the name of a shipped configuration.")
    ] = "tiny-gpt-drill",
    overrides: options.Overrides = None,
    backend: Annotated[str, typer.Option(help="What ranks compute on: cpu, cuda.")] = "cuda",
    count: Annotated[int, typer.Option(min=1, max=1000, help="Ranks to kill, one by one.")] = 4,
    down: Annotated[int, typer.Option(min=1, help="How many of them are down at a time.")] = 1,
    spacing: Annotated[int, typer.Option(min=2, help="Steps before each of them.")] = 20,
    ranks_per_gpu: options.RanksPerGpu = 1,
    json_file: _Json = None,
) -> None:
    """Kill ranks in the middle of steps, and time how the others go on and take them back.

    On GPUs, NCCL's ways to a communicator without the lost rank are timed first.
    """
    path = config_file(config)
    ways = bench_recovery.time_ways(require_gpus(2)) if backend == "cuda" else []
    result = bench_recovery.time_recoveries(
        path,
        overrides or [],
        backend,
        count=count,
        down=down,
        spacing=spacing,
        ranks_per_gpu=ranks_per_gpu,
    )
    result["ways"] = ways
    publish(result, bench_recovery.lines_of(result), json_file)


@bench_app.command("calibrate")
def calibrate_command(
    gpu: Annotated[str, typer.Option(help="The hardware to start from, as h200.")],
    output: Annotated[
        str, typer.Option("-o", metavar="MEASURED.json", help="For runflat calibrate; - is stdout.")
    ] = "-",
    results: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[BENCH.json]...", help="Of earlier runs; none: measure now."),
    ] = None,
    name: Annotated[str, typer.Option(help="Release name of the parameter file.")] = "mine",
    release: Annotated[
        str, typer.Option(help="Software release to start from; by default the GPU's.")
    ] = "",
) -> None:
    """Write what `runflat calibrate` reads: the GPU's kernels, and all-reduces of its host."""
    runs = [_read(path) for path in results] if results else _measure_all()
    write_text(output, json.dumps(measured_document(runs, gpu, name, release), indent=1) + "\n")


def _measure_all() -> list[dict[str, Any]]:
    runs = [bench_kernels.measure(bench_kernels.SWEEPS)]
    runs += [bench_comm.measure("nccl", ranks, []) for ranks in range(2, require_gpus() + 1)]
    if not all(map(bench_kernels.is_right, runs[:1])) or not all(
        map(bench_comm.is_right, runs[1:])
    ):
        raise ParseError("results are wrong; `runflat bench` says which")
    return runs


def _read(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text())
    except ValueError as error:
        raise ParseError(f"{path}: not JSON: {error}") from None
    if not isinstance(document, dict):
        raise ParseError(f"{path}: expected what `runflat bench --json` writes")
    return document


def _exit(is_right: bool) -> None:
    if not is_right:
        raise typer.Exit(_WRONG_RESULTS)
