"""Folders of Hugging Face weights: model.safetensors, or shards that an index lists."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from runflat._core import ParseError, SafetensorsFile, write_safetensors
from runflat.ckpt_config import read_json
from runflat.ckpt_numbers import decode

_WHOLE = "model.safetensors"
_INDEX = "model.safetensors.index.json"
Tensor = tuple[str, str, list[int]]  # name, type, shape


class WeightsFolder:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._files = [SafetensorsFile(folder / name) for name in self._file_names()]
        self._tensors = {
            name: (file, dtype, shape)
            for file in self._files
            for name, dtype, shape in file.tensors
        }

    def _file_names(self) -> list[str]:
        index = self.folder / _INDEX
        if (self.folder / _WHOLE).exists():
            return [_WHOLE]
        if not index.exists():
            raise ParseError(f"{self.folder}: expected {_WHOLE} or {_INDEX}")
        names = read_json(index).get("weight_map")
        if not isinstance(names, dict) or not all(
            isinstance(name, str) and name == Path(name).name for name in names.values()
        ):
            raise ParseError(f"{index}: weight_map: expected files beside the index")
        return sorted(set(names.values()))

    @property
    def names(self) -> set[str]:
        return set(self._tensors)

    def dtype(self, name: str) -> str:
        return self._find(name)[1]

    def read(self, name: str) -> NDArray[Any]:
        file, dtype, shape = self._find(name)
        return decode(f"{self.folder}: {name}", dtype, shape, file.read(name))

    def _find(self, name: str) -> tuple[SafetensorsFile, str, list[int]]:
        if name not in self._tensors:
            raise ParseError(f"{self.folder}: expected a tensor {name}, found none")
        return self._tensors[name]


def write_weights(
    folder: Path,
    tensors: Sequence[Tensor],
    num_bytes: Callable[[Tensor], int],
    data_of: Callable[[str], NDArray[Any]],
    *,
    most_bytes: int,
) -> None:
    """One file, or shards of at most `most_bytes` unless a tensor is larger, and their index."""
    shards: list[list[Tensor]] = [[]]
    size = 0
    for tensor in tensors:
        if shards[-1] and size + num_bytes(tensor) > most_bytes:
            shards.append([])
            size = 0
        shards[-1].append(tensor)
        size += num_bytes(tensor)
    metadata = [("format", "pt")]
    if len(shards) == 1:
        write_safetensors(folder / _WHOLE, shards[0], metadata, data_of)
        return
    weight_map = {}
    for i, shard in enumerate(shards):
        name = f"model-{i + 1:05}-of-{len(shards):05}.safetensors"
        write_safetensors(folder / name, shard, metadata, data_of)
        weight_map.update({tensor[0]: name for tensor in shard})
    total = sum(num_bytes(tensor) for tensor in tensors)
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    (folder / _INDEX).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
