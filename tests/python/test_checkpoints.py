"""Checkpoints to and from Hugging Face folders, and safetensors files to and from the package."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Run
from safetensors import deserialize
from safetensors.numpy import load_file, save_file

from runflat._core import Checkpoint, ParseError, SafetensorsFile, write_safetensors
from runflat.ckpt_convert import export_weights, import_weights
from runflat.ckpt_numbers import decode, encode

LLAMA = {
    "model_type": "llama",
    "hidden_size": 8,
    "intermediate_size": 12,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 4,
    "max_position_embeddings": 32,
    "vocab_size": 10,
    "rms_norm_eps": 1e-6,
    "rope_theta": 500000.0,
    "tie_word_embeddings": False,
}
GPT2 = {
    "model_type": "gpt2",
    "n_embd": 8,
    "n_layer": 2,
    "n_head": 2,
    "n_positions": 16,
    "vocab_size": 10,
}


def llama_shapes(tied: bool = False) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (10, 8)}
    for i in range(2):
        shapes |= {
            f"model.layers.{i}.{name}.weight": shape
            for name, shape in {
                "self_attn.q_proj": (16, 8),
                "self_attn.k_proj": (8, 8),
                "self_attn.v_proj": (8, 8),
                "self_attn.o_proj": (8, 16),
                "mlp.gate_proj": (12, 8),
                "mlp.up_proj": (12, 8),
                "mlp.down_proj": (8, 12),
                "input_layernorm": (8,),
                "post_attention_layernorm": (8,),
            }.items()
        }
    shapes["model.norm.weight"] = (8,)
    return shapes if tied else shapes | {"lm_head.weight": (10, 8)}


def gpt2_shapes() -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {
        "transformer.wte.weight": (10, 8),
        "transformer.wpe.weight": (16, 8),
    }
    layers = {"attn.c_attn": (8, 24), "attn.c_proj": (8, 8), "mlp.c_fc": (8, 32)}
    layers |= {"mlp.c_proj": (32, 8), "ln_1": (8,), "ln_2": (8,)}
    for i in range(2):
        for name, shape in layers.items():
            shapes[f"transformer.h.{i}.{name}.weight"] = shape
            shapes[f"transformer.h.{i}.{name}.bias"] = shape[-1:]
    return shapes | {"transformer.ln_f.weight": (8,), "transformer.ln_f.bias": (8,)}


def write_folder(
    folder: Path, config: dict[str, Any], shapes: dict[str, tuple[int, ...]], dtype: str = "F32"
) -> dict[str, bytes]:
    """Random weights; returns their bytes. (The package's numpy interface has no bf16.)"""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    dice = np.random.default_rng(5)
    header: dict[str, Any] = {}
    weights: dict[str, bytes] = {}
    size = 0
    for name, shape in shapes.items():
        weights[name] = encode(dtype, dice.standard_normal(shape, dtype=np.float32)).tobytes()
        end = size + len(weights[name])
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [size, end]}
        size = end
    text = json.dumps(header).encode()
    data = struct.pack("<Q", len(text)) + text + b"".join(weights.values())
    (folder / "model.safetensors").write_bytes(data)
    return weights


def read_folder(folder: Path) -> dict[str, bytes]:
    """As the package reads it."""
    return {
        name: bytes(tensor["data"])
        for file in folder.glob("*.safetensors")
        for name, tensor in deserialize(file.read_bytes())
    }


def test_the_package_reads_our_files_and_we_read_its(tmp_path: Path) -> None:
    arrays = {
        "f32": np.arange(6, dtype=np.float32).reshape(2, 3),
        "f64": np.array([np.pi]),
        "i64": np.array([[-1], [2**62]]),
        "i32": np.array([7], dtype=np.int32),
        "u8": np.arange(5, dtype=np.uint8),
        "empty": np.zeros((0, 3), dtype=np.float32),
        "scalar": np.array(2.5, dtype=np.float32),
    }
    types = {"f32": "F32", "f64": "F64", "i64": "I64", "i32": "I32", "u8": "U8"}
    types |= {"empty": "F32", "scalar": "F32"}
    ours, theirs = tmp_path / "ours.safetensors", tmp_path / "theirs.safetensors"
    tensors = [(name, types[name], list(array.shape)) for name, array in arrays.items()]
    write_safetensors(ours, tensors, [("a", "b")], lambda name: arrays[name])
    read = load_file(ours)
    assert set(read) == set(arrays)
    for name, array in arrays.items():
        assert read[name].dtype == array.dtype
        assert np.array_equal(read[name], array)
    save_file(arrays, theirs, {"a": "b"})
    file = SafetensorsFile(theirs)
    assert sorted(file.tensors) == sorted(tensors)
    assert file.metadata == [("a", "b")]
    for name, array in arrays.items():
        assert file.read(name).tobytes() == array.tobytes()


def test_every_bf16_keeps_its_bits_and_others_round_to_even() -> None:
    every = np.arange(65536, dtype=np.uint16)
    wide = decode("x", "BF16", [65536], every.view(np.uint8))
    assert np.array_equal(encode("BF16", wide), every)
    # Half-way between 1 and 1 + 2^-7, and between that and 1 + 2^-6; infinity; a NaN of low bits.
    odd = np.array([0x3F808000, 0x3F818000, 0x7F7FFFFF, 0x7F800001], dtype=np.uint32)
    assert encode("BF16", odd.view(np.float32)).tolist() == [0x3F80, 0x3F82, 0x7F80, 0x7FC0]


@pytest.mark.parametrize("dtype", ["F32", "BF16"])
@pytest.mark.parametrize(
    ("config", "shapes"),
    [
        (LLAMA, llama_shapes()),
        (LLAMA | {"tie_word_embeddings": True}, llama_shapes(tied=True)),
        (GPT2, gpt2_shapes()),
    ],
    ids=["llama", "tied llama", "gpt2"],
)
def test_hugging_face_weights_come_back_bit_for_bit(
    tmp_path: Path, config: dict[str, Any], shapes: dict[str, tuple[int, ...]], dtype: str
) -> None:
    weights = write_folder(tmp_path / "hf", config, shapes, dtype)
    import_weights(tmp_path / "hf", tmp_path / "ckpt")
    export_weights(tmp_path / "ckpt", tmp_path / "one", vocab_size=10)
    export_weights(tmp_path / "ckpt", tmp_path / "shards", vocab_size=10, shard_bytes=900)
    assert read_folder(tmp_path / "one") == weights
    assert read_folder(tmp_path / "shards") == weights
    assert len(list((tmp_path / "shards").glob("*.safetensors"))) > 2
    written = json.loads((tmp_path / "one/config.json").read_text())
    assert {key: written[key] for key in config} == config
    # The shards are a folder like any other, and so is the bare GPT-2's.
    import_weights(tmp_path / "shards", tmp_path / "again")
    first, again = Checkpoint(tmp_path / "ckpt"), Checkpoint(tmp_path / "again")
    assert first.header["model"] | {"name": ""} == again.header["model"] | {"name": ""}
    for name, _ in first.params:
        assert first.read(name).tobytes() == again.read(name).tobytes()


def test_a_bare_gpt2_with_masks_is_the_same_model(tmp_path: Path) -> None:
    write_folder(tmp_path / "hf", GPT2, gpt2_shapes())
    bare = {name.removeprefix("transformer."): shape for name, shape in gpt2_shapes().items()}
    (tmp_path / "bare").mkdir()
    tensors = load_file(tmp_path / "hf/model.safetensors")
    tensors = {name.removeprefix("transformer."): tensor for name, tensor in tensors.items()}
    tensors["h.0.attn.bias"] = np.ones((1, 1, 16, 16), dtype=np.float32)
    assert set(bare) < set(tensors)
    save_file(tensors, tmp_path / "bare/model.safetensors")
    (tmp_path / "bare/config.json").write_text(json.dumps(GPT2))
    import_weights(tmp_path / "hf", tmp_path / "a")
    import_weights(tmp_path / "bare", tmp_path / "b")
    a, b = Checkpoint(tmp_path / "a"), Checkpoint(tmp_path / "b")
    assert all(np.array_equal(a.read(name), b.read(name)) for name, _ in a.params)


def test_the_padded_rows_of_the_vocabulary_are_zero(tmp_path: Path) -> None:
    write_folder(tmp_path / "hf", LLAMA, llama_shapes())
    import_weights(tmp_path / "hf", tmp_path / "a")
    import_weights(tmp_path / "hf", tmp_path / "b", padded_vocab_size=12)
    for folder, rows in (("a", 128), ("b", 12)):
        checkpoint = Checkpoint(tmp_path / folder)
        assert checkpoint.header["model"]["padded_vocab_size"] == rows
        for name in ("embedding.word_embeddings.weight", "output_layer.weight"):
            words = checkpoint.read(name).reshape(rows, 8)
            assert words[:10].all()
            assert not words[10:].any()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"rope_scaling": {"rope_type": "llama3", "factor": 8.0}}, "llama3"),
        ({"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4}}, "yarn"),
        ({"attention_bias": True}, "attention_bias"),
        ({"hidden_act": "gelu"}, "hidden_act"),
        ({"model_type": "mamba"}, "model_type"),
        ({"hidden_size": None}, "hidden_size"),
        ({"num_key_value_heads": 3}, "num_query_groups"),
        ({"intermediate_size": 16}, "mlp.gate_proj.weight: config.json says [16, 8]"),
        ({"num_hidden_layers": 3}, "model.layers.2.input_layernorm.weight"),
        ({"num_hidden_layers": 1}, "model.layers.1.input_layernorm.weight"),
        ({"tie_word_embeddings": True}, "lm_head.weight"),
    ],
)
def test_what_cannot_be_trained_is_refused(
    tmp_path: Path, change: dict[str, Any], reason: str
) -> None:
    write_folder(tmp_path / "hf", LLAMA | change, llama_shapes())
    with pytest.raises(ParseError) as error:
        import_weights(tmp_path / "hf", tmp_path / "ckpt")
    assert reason in str(error.value)
    assert "\n" not in str(error.value)
    with pytest.raises(ParseError):
        Checkpoint(tmp_path / "ckpt")


def test_the_command_converts_both_ways_and_says_what_there_is(tmp_path: Path, run: Run) -> None:
    weights = write_folder(tmp_path / "hf", LLAMA, llama_shapes(), "BF16")
    assert run("ckpt", "convert", "hf", "-o", "ckpt").returncode == 0
    info = run("ckpt", "info", "ckpt")
    assert "step_00000000: hf, " in info.stdout
    assert "weights, trained in bf16, step 0" in info.stdout
    assert run("ckpt", "convert", "ckpt", "-o", "back", "--vocab-size", 10).returncode == 0
    assert read_folder(tmp_path / "back") == weights
    again = run("ckpt", "convert", "ckpt", "-o", "back")
    assert (again.returncode, again.stderr.count("\n")) == (2, 1)
    assert "expected the name of a new folder" in again.stderr
    shard = tmp_path / "ckpt/step_00000000/rank_00000.safetensors"
    data = bytearray(shard.read_bytes())
    data[-1] ^= 1
    shard.write_bytes(data)
    damaged = run("ckpt", "info", "ckpt")
    assert (damaged.returncode, damaged.stderr.count("\n")) == (2, 1)
    assert "checksum" in damaged.stderr
