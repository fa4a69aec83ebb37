"""What the tests of `runflat train` share: a tiny job on real text, and what its runs leave."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

LICENSES = Path("/usr/share/common-licenses")  # on any Debian
CONFIG = "tiny-llama-ntp"
NUM_RANKS = 6

# Two ranks of the same model: the smallest job that needs a launcher.
TWO_RANKS = (
    "--set=layout={tensor_model_parallel_size = 2}",
    "--set=training.global_batch_size=4",
    "--set=training.zero_stage=0",
)


def steps(count: int) -> tuple[str, ...]:
    return (f"--set=training.train_iters={count}", "--set=optimizer.lr_warmup_iters=0")


def read_log(path: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The header and the steps of a JSON log."""
    header, *records = (json.loads(line) for line in path.read_text().splitlines())
    return header, records


def losses(path: Path) -> list[float]:
    return [record["loss"] for record in read_log(path)[1]]
