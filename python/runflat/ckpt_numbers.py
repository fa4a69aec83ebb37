"""Numbers of safetensors files as numpy arrays: float32, or float64 where the file has F64."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runflat._core import ParseError

_NUMPY = {"F64": np.float64, "F32": np.float32, "F16": np.float16}
_QUIET = np.uint16(0x40)
_FRACTION = np.uint16(0x7F)


def decode(name: str, dtype: str, shape: Sequence[int], data: NDArray[np.uint8]) -> NDArray[Any]:
    """Exact: every bf16 and fp16 number is a float32."""
    if dtype == "BF16":
        wide = data.view(np.uint16).astype(np.uint32) << np.uint32(16)
        return wide.view(np.float32).reshape(shape)
    if dtype not in _NUMPY:
        known = ", ".join([*_NUMPY, "BF16"])
        raise ParseError(f"{name}: expected a tensor of {known}, found {dtype}")
    values = data.view(_NUMPY[dtype])
    return values.astype(np.float32 if dtype == "F16" else values.dtype).reshape(shape)


def encode(dtype: str, values: NDArray[Any]) -> NDArray[Any]:
    """As stored; bf16 rounds to nearest even."""
    if dtype != "BF16":
        return np.ascontiguousarray(values, dtype=_NUMPY[dtype])
    bits = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)
    high = (bits >> np.uint32(16)).astype(np.uint16)
    even = (bits >> np.uint32(16)) & np.uint32(1)
    rounded = ((bits + np.uint32(0x7FFF) + even) >> np.uint32(16)).astype(np.uint16)
    # A NaN whose low bits go must stay one, and one of bf16 keeps its bits.
    nan = np.where(high & _FRACTION, high, high | _QUIET)
    return np.where(np.isnan(values), nan, rounded)
