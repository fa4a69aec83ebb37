"""Parameters in the order of checkpoints, unit after unit, and as Megatron shapes them.

A unit is what tensor parallelism never divides: the rows of a kv-group, an ffn column. Of a gated
fc1 a unit is a gate row and the up row beside it; row-parallel weights are stored transposed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Model = Mapping[str, Any]

_ROW_PARALLEL = (".linear_proj.weight", ".linear_fc2.weight")


def to_megatron(model: Model, param: str, shape: Sequence[int], values: Array) -> Array:
    """The tensor of Megatron's shape, from its elements in unit-major order."""
    if param.endswith(_ROW_PARALLEL):
        return values.reshape(shape[1], shape[0]).T
    if _is_gated(model, param):
        pairs = values.reshape(shape[0] // 2, 2, *shape[1:])
        return np.swapaxes(pairs, 0, 1).reshape(shape)
    return values.reshape(shape)


def to_units(model: Model, param: str, tensor: Array) -> Array:
    """Its elements in unit-major order."""
    if param.endswith(_ROW_PARALLEL):
        return np.ascontiguousarray(tensor.T).reshape(-1)
    if _is_gated(model, param):
        halves = tensor.reshape(2, tensor.shape[0] // 2, *tensor.shape[1:])
        return np.ascontiguousarray(np.swapaxes(halves, 0, 1)).reshape(-1)
    return np.ascontiguousarray(tensor).reshape(-1)


def _is_gated(model: Model, param: str) -> bool:
    return bool(model["gated_linear_unit"]) and ".linear_fc1." in param
