"""Checkpoints to and from Hugging Face folders. Every element keeps its bits."""

from __future__ import annotations

import json
import math
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runflat import ckpt_gpt2, ckpt_llama
from runflat._core import (
    Checkpoint,
    ParseError,
    complete_model,
    model_params,
    write_checkpoint,
)
from runflat.ckpt_config import Config
from runflat.ckpt_folder import Tensor, WeightsFolder, write_weights
from runflat.ckpt_numbers import encode
from runflat.ckpt_tensors import TensorMap
from runflat.ckpt_units import to_megatron, to_units

_FAMILIES: dict[str, ModuleType] = {"llama": ckpt_llama, "gpt2": ckpt_gpt2}
_TYPES = {"fp32": "F32", "fp64": "F64", "bf16": "BF16"}
_TRAINED_AS = {"BF16": "bf16", "F64": "fp64"}  # and all else in fp32
_SIZES = {"F32": 4, "F64": 8, "BF16": 2}
_HF_TYPES = {"fp32": "float32", "fp64": "float64", "bf16": "bfloat16"}
SHARD_BYTES = 5 * 10**9


def import_weights(source: Path, output: Path, *, padded_vocab_size: int | None = None) -> None:
    """From a Hugging Face folder to `output/step_00000000`, without optimizer state."""
    config = Config(source)
    family = _FAMILIES.get(str(config.values.get("model_type")))
    if family is None:
        found = config.values.get("model_type")
        expected = " or ".join(_FAMILIES)
        raise ParseError(f"{config.file}: model_type: expected {expected}, found {found!r}")
    header = family.header_of(config, padded_vocab_size)
    maps = family.tensor_maps(complete_model(header["model"]), config.integer("vocab_size"))
    weights = _Import(WeightsFolder(source), header["model"], maps)
    weights.check_names(family.IGNORED)
    header |= {
        "steps": 0,
        "consumed_samples": 0,
        "dtype": _TRAINED_AS.get(weights.dtype(), "fp32"),
        "has_moments": False,
    }
    write_checkpoint(output, header, weights.values_of)


class _Import:
    """The parameters of a Hugging Face folder."""

    def __init__(self, folder: WeightsFolder, model: dict[str, Any], maps: list[TensorMap]) -> None:
        self._folder = folder
        self._model = complete_model(model)
        self._maps = {it.param: it for it in maps}
        self._shapes = dict(model_params(model))
        # Files of the bare GPT-2 leave out the name of the part that has a head beside it.
        self._prefix = "" if maps[0].tensors[0] in folder.names else "transformer."
        self._words = maps[0].tensors[0]

    def _name(self, tensor: str) -> str:
        return tensor.removeprefix(self._prefix)

    def dtype(self) -> str:
        return self._folder.dtype(self._name(self._words))

    def check_names(self, ignored: tuple[str, ...]) -> None:
        """Nothing that matters may be left behind."""
        expected = {self._name(name) for it in self._maps.values() for name in it.tensors}
        for name in sorted(self._folder.names - expected):
            is_tied_copy = name == "lm_head.weight" and np.array_equal(
                self._folder.read(name), self._folder.read(self._name(self._words))
            )
            if not name.endswith(ignored) and not is_tied_copy:
                raise ParseError(f"{self._folder.folder}: {name}: no such tensor is trained here")

    def values_of(self, param: str) -> NDArray[Any]:
        it = self._maps[param]
        parts = [self._folder.read(self._name(name)) for name in it.tensors]
        for name, part, shape in zip(it.tensors, parts, shapes_of(it, self._shapes), strict=True):
            if list(part.shape) != shape:
                raise ParseError(
                    f"{self._folder.folder}: {name}: "
                    f"config.json says {shape}, the tensor is {list(part.shape)}"
                )
        return to_units(self._model, param, it.join(parts))


def export_weights(
    source: Path,
    output: Path,
    *,
    dtype: str | None = None,
    vocab_size: int | None = None,
    shard_bytes: int = SHARD_BYTES,
) -> None:
    """From a checkpoint to a Hugging Face folder; optimizer state stays behind."""
    checkpoint = Checkpoint(source)
    header = checkpoint.header
    model = header["model"]
    family = next((it for it in _FAMILIES.values() if it.supports(model)), None)
    if family is None:
        raise ParseError(f"{checkpoint.path}: {model['name']} is neither a Llama nor a GPT-2")
    padded = model["padded_vocab_size"]
    rows = vocab_size or padded
    if rows > padded:
        raise ParseError(f"--vocab-size {rows}: the checkpoint has {padded} rows")
    dtype = dtype or header["dtype"]
    export = _Export(checkpoint, family.tensor_maps(model, rows), _TYPES[dtype])
    output.mkdir(parents=True, exist_ok=True)
    write_weights(
        output,
        export.tensors(),
        lambda it: math.prod(it[2]) * _SIZES[it[1]],
        export.data_of,
        most_bytes=shard_bytes,
    )
    config = family.config_of(header, rows) | {"torch_dtype": _HF_TYPES[dtype]}
    (output / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def shapes_of(it: TensorMap, shapes: dict[str, list[int]]) -> list[list[int]]:
    """Those of its tensors, from Megatron's shapes by parameter."""
    whole = np.broadcast_to(np.float32(0), shapes[it.param])
    return [list(part.shape) for part in it.split(whole)]


class _Export:
    """The tensors of a checkpoint under their Hugging Face names, a parameter at a time."""

    def __init__(self, checkpoint: Checkpoint, maps: list[TensorMap], dtype: str) -> None:
        self._checkpoint = checkpoint
        self._maps = maps
        self._dtype = dtype
        self._shapes = dict(checkpoint.params)
        self._map_of = {name: it for it in maps for name in it.tensors}
        self._last: tuple[str, dict[str, NDArray[Any]]] = ("", {})

    def tensors(self) -> list[Tensor]:
        found: list[Tensor] = []
        for it in self._maps:
            shapes = shapes_of(it, self._shapes)
            found += [(n, self._dtype, s) for n, s in zip(it.tensors, shapes, strict=True)]
        return found

    def data_of(self, name: str) -> NDArray[Any]:
        it = self._map_of[name]
        if self._last[0] != it.param:
            values = self._checkpoint.read(it.param)
            model = self._checkpoint.header["model"]
            whole = to_megatron(model, it.param, self._shapes[it.param], values)
            self._last = (it.param, dict(zip(it.tensors, it.split(whole), strict=True)))
        return encode(self._dtype, self._last[1][name])
