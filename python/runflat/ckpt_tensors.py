"""Which tensors of a Hugging Face model hold which parameter of ours, and how they are cut."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from runflat.ckpt_units import Array, Model


@dataclass(frozen=True)
class TensorMap:
    """`split` and `join` are inverses, between a tensor of Megatron's shape and the `tensors`."""

    param: str
    tensors: tuple[str, ...]
    split: Callable[[Array], Sequence[Array]]
    join: Callable[[Sequence[Array]], Array]


def same(param: str, tensor: str) -> TensorMap:
    return TensorMap(param, (tensor,), lambda a: [a], lambda t: t[0])


def transposed(param: str, tensor: str) -> TensorMap:
    return TensorMap(param, (tensor,), lambda a: [a.T], lambda t: t[0].T)


def vocabulary(param: str, tensor: str, vocab_size: int, padded: int) -> TensorMap:
    """Without the rows that pad the vocabulary; they are zero when they come back."""

    def join(tensors: Sequence[Array]) -> Array:
        (rows,) = tensors
        return np.concatenate([rows, np.zeros((padded - vocab_size, rows.shape[1]), rows.dtype)])

    return TensorMap(param, (tensor,), lambda a: [a[:vocab_size]], join)


def split_qkv(model: Model, qkv: Array) -> list[Array]:
    """Megatron's rows are [q..., k, v] of each kv-group; theirs all q, all k, all v."""
    groups, size = model["num_query_groups"], model["kv_channels"]
    rest = qkv.shape[1:]
    rows = qkv.reshape(groups, -1, size, *rest)
    return [part.reshape(-1, *rest) for part in (rows[:, :-2], rows[:, -2], rows[:, -1])]


def join_qkv(model: Model, parts: Sequence[Array]) -> Array:
    groups, size = model["num_query_groups"], model["kv_channels"]
    rest = parts[0].shape[1:]
    rows = [part.reshape(groups, -1, size, *rest) for part in parts]
    return np.concatenate(rows, axis=1).reshape(-1, *rest)
