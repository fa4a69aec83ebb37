"""What does not forbid a job but may keep it from recovering."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping

from runflat._core import gpu_versions

_NCCL = (2, 28, 9)


def warn_of_hazards(on_gpus: bool, variables: Mapping[str, str]) -> None:
    """A line on stderr for each."""
    for hazard in hazards(gpu_versions(), variables) if on_gpus else ():
        print(f"warning: {hazard}", file=sys.stderr)


def hazards(versions: str, variables: Mapping[str, str]) -> list[str]:
    found = []
    nccl = re.search(r"NCCL (\d+)\.(\d+)\.(\d+)", versions)
    if nccl and tuple(map(int, nccl.groups())) < _NCCL:
        least = ".".join(map(str, _NCCL))
        found.append(f"{nccl[0]} is older than {least}, with which recovery was measured")
    if variables.get("NCCL_NVLS_ENABLE", "0") != "0":
        found.append("NCCL_NVLS_ENABLE: communicators with NVLink multicast may not recover")
    return found
