"""On GPUs, one process each, every layout that fits gives the losses of ranks on the host. With two
GPUs, ranks of larger ones share them, the replicas as if on hosts of their own."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import COMMAND
from training import losses

# Ranks, and settings.
LAYOUTS = {
    "one": (1, ["layout={tensor_model_parallel_size = 1}"]),
    "TP2": (2, ["layout={tensor_model_parallel_size = 2}"]),
    "TP2 SP": (2, ["layout={tensor_model_parallel_size = 2}", "training.sequence_parallel=true"]),
    "PP2": (2, ["layout={pipeline_model_parallel_size = 2}"]),
    "PP2 x 2 virtual": (
        2,
        ["layout={pipeline_model_parallel_size = 2, virtual_pipeline_model_parallel_size = 2}"],
    ),
    "DP2": (2, ["layout={data_parallel_size = 2}", "training.zero_stage=0"]),
    "DP2 ZeRO-1, redundancy": (
        2,
        ["layout={data_parallel_size = 2}", "training.zero_stage=1", "training.redundancy=true"],
    ),
    "TP2 + TP1": (
        3,
        [
            "layout={tensor_model_parallel_size = 2, data_parallel_size = 2, "
            'non_active_ranks_per_dp = { "1" = [0] }}',
            "training.zero_stage=1",
        ],
    ),
    "TP2 x DP2 SP": (
        4,
        [
            "layout={tensor_model_parallel_size = 2, data_parallel_size = 2}",
            "training.sequence_parallel=true",
        ],
    ),
    "TP4": (4, ["layout={tensor_model_parallel_size = 4}"]),
    "TP2 x PP2": (
        4,
        ["layout={tensor_model_parallel_size = 2, pipeline_model_parallel_size = 2}"],
    ),
    "PP2 x DP2 ZeRO-1": (
        4,
        [
            "layout={pipeline_model_parallel_size = 2, data_parallel_size = 2}",
            "training.zero_stage=1",
        ],
    ),
    "DP4 ZeRO-1": (4, ["layout={data_parallel_size = 4}", "training.zero_stage=1"]),
    "TP4 + TP2": (
        6,
        [
            "layout={tensor_model_parallel_size = 4, data_parallel_size = 2, "
            'non_active_ranks_per_dp = { "0" = [1, 2] }}',
            "training.zero_stage=1",
            "training.redundancy=true",
        ],
    ),
}
# As in the parity tests on the host: at 1e-2, Adam makes much of what rounding leaves of gradients.
RUN = ("--set=training.train_iters=20", "--set=optimizer.lr=1e-3")


def num_gpus() -> int:
    if shutil.which("nvidia-smi") is None:
        return 0
    listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False)
    return listed.stdout.count("GPU ")


def train(folder: Path, name: str, *arguments: str) -> list[float]:
    log = folder / f"{name}.jsonl"
    command = [str(COMMAND), "train", "tiny-gpt-mock", f"--log={log}", *RUN, *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return losses(log)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_gpus_give_the_losses_of_the_host(layout: str, tmp_path: Path) -> None:
    needed, settings = LAYOUTS[layout]
    present = num_gpus()
    if present < min(needed, 2):
        pytest.skip(f"needs {min(needed, 2)} GPUs")
    on_host = train(tmp_path, "host")
    on_gpus = train(
        tmp_path,
        "gpus",
        "--backend=cuda",
        f"--ranks-per-gpu={-(-needed // present)}",
        *(f"--set={each}" for each in settings),
    )
    assert on_gpus == pytest.approx(on_host, rel=1e-5)
