"""On GPUs, one process each, every layout that fits gives the losses of ranks on the host."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import COMMAND
from training import losses, read_log

LAYOUTS = {
    "TP2": ["layout.tensor_model_parallel_size=2"],
    "TP2 SP": ["layout.tensor_model_parallel_size=2", "training.sequence_parallel=true"],
    "PP2": ["layout.pipeline_model_parallel_size=2"],
    "DP2": ["layout.data_parallel_size=2", "training.zero_stage=0"],
    "DP2 ZeRO-1, redundancy": ["layout.data_parallel_size=2", "training.redundancy=true"],
    "TP2 x DP2 SP": [
        "layout.tensor_model_parallel_size=2",
        "layout.data_parallel_size=2",
        "training.sequence_parallel=true",
    ],
    "TP2 + TP1": [
        "layout.tensor_model_parallel_size=2",
        "layout.data_parallel_size=2",
        'layout.non_active_ranks_per_dp={ "1" = [0] }',
    ],
}


def num_gpus() -> int:
    if shutil.which("nvidia-smi") is None:
        return 0
    listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False)
    return listed.stdout.count("GPU ")


def num_needed(settings: list[str]) -> int:
    sizes = [int(s.split("=")[1]) for s in settings if "parallel_size" in s]
    needed = 1
    for size in sizes:
        needed *= size
    return needed - sum("non_active" in s for s in settings)


def train(folder: Path, name: str, *arguments: str) -> list[float]:
    log = folder / f"{name}.jsonl"
    command = [str(COMMAND), "train", "tiny-gpt-mock", f"--log={log}", *arguments]
    subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=300)
    return losses(read_log(log))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_gpus_give_the_losses_of_the_host(layout: str, tmp_path: Path) -> None:
    settings = LAYOUTS[layout]
    if num_gpus() < num_needed(settings):
        pytest.skip(f"needs {num_needed(settings)} GPUs")
    arguments = [f"--set={setting}" for setting in [*settings, "training.precision=fp32"]]
    on_host = train(tmp_path, "host", "--set=training.precision=fp32")
    on_gpus = train(tmp_path, "gpus", "--backend=cuda", *arguments)
    assert on_gpus == pytest.approx(on_host, rel=1e-5)
