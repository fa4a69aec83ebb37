"""Hugging Face's GPT2LMHeadModel. Its linear layers are of shape [in, out]."""

from __future__ import annotations

from typing import Any

import numpy as np

from runflat.ckpt_config import Config
from runflat.ckpt_tensors import TensorMap, join_qkv, same, split_qkv, transposed, vocabulary
from runflat.ckpt_units import Array, Model

IGNORED = (".attn.bias", ".attn.masked_bias")  # the causal mask, in older files
_GELU = ("gelu_new", "gelu_pytorch_tanh")


def header_of(config: Config, padded_vocab_size: int | None) -> dict[str, Any]:
    """What a checkpoint says of these weights."""
    config.expect("activation_function", *_GELU)
    config.expect("scale_attn_weights", True)
    config.expect("scale_attn_by_inverse_layer_idx", False)
    config.expect("add_cross_attention", False)
    hidden = config.integer("n_embd")
    model = {
        "name": config.folder.name or "gpt2",
        "family": "gpt",
        "num_layers": config.integer("n_layer"),
        "hidden_size": hidden,
        "ffn_hidden_size": config.integer("n_inner", 4 * hidden),
        "num_attention_heads": config.integer("n_head"),
        "seq_length": config.integer("n_positions"),
        "padded_vocab_size": config.padded_vocab_size(padded_vocab_size),
        "untie_embeddings_and_output_weights": not config.flag("tie_word_embeddings", True),
    }
    return {
        "model": model,
        "rotary_base": 10000.0,
        "norm_epsilon": config.number("layer_norm_epsilon", 1e-5),
    }


def supports(model: Model) -> bool:
    heads, size = model["num_attention_heads"], model["kv_channels"]
    return (
        not model["gated_linear_unit"]
        and not model["rms_norm"]
        and model["learned_positions"]
        and model["add_bias_linear"]
        and model["num_query_groups"] == heads
        and heads * size == model["hidden_size"]
        and model["family"] != "moe"
    )


def config_of(header: dict[str, Any], vocab_size: int) -> dict[str, Any]:
    model = header["model"]
    return {
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        "n_embd": model["hidden_size"],
        "n_inner": model["ffn_hidden_size"],
        "n_layer": model["num_layers"],
        "n_head": model["num_attention_heads"],
        "n_positions": model["seq_length"],
        "vocab_size": vocab_size,
        "activation_function": "gelu_new",
        "layer_norm_epsilon": header["norm_epsilon"],
        "attn_pdrop": 0.0,
        "embd_pdrop": 0.0,
        "resid_pdrop": 0.0,
        "tie_word_embeddings": not model["untie_embeddings_and_output_weights"],
    }


def tensor_maps(model: Model, vocab_size: int) -> list[TensorMap]:
    padded = model["padded_vocab_size"]
    words = ("embedding.word_embeddings.weight", "transformer.wte.weight")
    maps = [
        vocabulary(*words, vocab_size, padded),
        same("embedding.position_embeddings.weight", "transformer.wpe.weight"),
    ]
    for i in range(model["num_layers"]):
        maps += _layer(model, f"decoder.layers.{i}.", f"transformer.h.{i}.")
    maps += [
        same(f"decoder.final_layernorm.{name}", f"transformer.ln_f.{name}")
        for name in ("weight", "bias")
    ]
    if model["untie_embeddings_and_output_weights"]:
        maps.append(vocabulary("output_layer.weight", "lm_head.weight", vocab_size, padded))
    return maps


def _layer(model: Model, ours: str, theirs: str) -> list[TensorMap]:
    def to_columns(qkv: Array) -> list[Array]:
        return [np.concatenate(split_qkv(model, qkv)).T]

    def to_groups(tensors: Any) -> Array:
        return join_qkv(model, np.split(tensors[0].T, 3))

    maps = []
    for our_name, their_name in (
        ("self_attention.linear_proj", "attn.c_proj"),
        ("mlp.linear_fc1", "mlp.c_fc"),
        ("mlp.linear_fc2", "mlp.c_proj"),
    ):
        maps.append(transposed(f"{ours}{our_name}.weight", f"{theirs}{their_name}.weight"))
        maps.append(same(f"{ours}{our_name}.bias", f"{theirs}{their_name}.bias"))
    for our_name, their_name in (("input_layernorm", "ln_1"), ("pre_mlp_layernorm", "ln_2")):
        for name in ("weight", "bias"):
            maps.append(same(f"{ours}{our_name}.{name}", f"{theirs}{their_name}.{name}"))
    for name in ("weight", "bias"):  # the transpose of a vector is the vector
        maps.append(
            TensorMap(
                f"{ours}self_attention.linear_qkv.{name}",
                (f"{theirs}attn.c_attn.{name}",),
                to_columns,
                to_groups,
            )
        )
    return maps
