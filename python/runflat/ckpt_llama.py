"""Hugging Face's LlamaForCausalLM."""

from __future__ import annotations

from typing import Any

import numpy as np

from runflat._core import ParseError
from runflat.ckpt_config import Config
from runflat.ckpt_tensors import TensorMap, join_qkv, same, split_qkv, vocabulary
from runflat.ckpt_units import Model

IGNORED = ("rotary_emb.inv_freq",)  # made again from rope_theta


def header_of(config: Config, padded_vocab_size: int | None) -> dict[str, Any]:
    """What a checkpoint says of these weights."""
    for key, usual in (("hidden_act", "silu"), ("attention_bias", False), ("mlp_bias", False)):
        config.expect(key, usual)
    hidden, heads = config.integer("hidden_size"), config.integer("num_attention_heads")
    model = {
        "name": config.folder.name or "llama",
        "family": "llama",
        "num_layers": config.integer("num_hidden_layers"),
        "hidden_size": hidden,
        "ffn_hidden_size": config.integer("intermediate_size"),
        "num_attention_heads": heads,
        "num_query_groups": config.integer("num_key_value_heads", heads),
        "kv_channels": config.integer("head_dim", hidden // heads),
        "seq_length": config.integer("max_position_embeddings", 2048),
        "padded_vocab_size": config.padded_vocab_size(padded_vocab_size),
        "untie_embeddings_and_output_weights": not config.flag("tie_word_embeddings", False),
    }
    return {
        "model": model,
        "rotary_base": _rope_theta(config),
        "norm_epsilon": config.number("rms_norm_eps", 1e-6),
    }


def _rope_theta(config: Config) -> float:
    """Scaled frequencies are refused: nothing here trains with them."""
    theta = config.number("rope_theta", 10000.0)
    for key in ("rope_scaling", "rope_parameters"):
        rope = config.values.get(key) or {}
        if not isinstance(rope, dict):
            raise ParseError(f"{config.file}: {key}: expected an object, found {rope!r}")
        kind = rope.get("rope_type", rope.get("type", "default"))
        if kind != "default":
            raise ParseError(f"{config.file}: {key}: RoPE of type {kind!r} cannot be trained yet")
        theta = float(rope.get("rope_theta", theta))
    return theta


def supports(model: Model) -> bool:
    return (
        model["gated_linear_unit"]
        and model["rms_norm"]
        and not model["learned_positions"]
        and not model["add_bias_linear"]
        and model["family"] != "moe"
    )


def config_of(header: dict[str, Any], vocab_size: int) -> dict[str, Any]:
    model = header["model"]
    theta = header["rotary_base"]
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": model["hidden_size"],
        "intermediate_size": model["ffn_hidden_size"],
        "num_hidden_layers": model["num_layers"],
        "num_attention_heads": model["num_attention_heads"],
        "num_key_value_heads": model["num_query_groups"],
        "head_dim": model["kv_channels"],
        "max_position_embeddings": model["seq_length"],
        "vocab_size": vocab_size,
        "hidden_act": "silu",
        "rms_norm_eps": header["norm_epsilon"],
        "rope_theta": theta,
        "rope_scaling": None,
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": not model["untie_embeddings_and_output_weights"],
    }


def tensor_maps(model: Model, vocab_size: int) -> list[TensorMap]:
    padded = model["padded_vocab_size"]
    words = ("embedding.word_embeddings.weight", "model.embed_tokens.weight")
    maps = [vocabulary(*words, vocab_size, padded)]
    for i in range(model["num_layers"]):
        maps += _layer(model, f"decoder.layers.{i}.", f"model.layers.{i}.")
    maps.append(same("decoder.final_layernorm.weight", "model.norm.weight"))
    if model["untie_embeddings_and_output_weights"]:
        maps.append(vocabulary("output_layer.weight", "lm_head.weight", vocab_size, padded))
    return maps


def _layer(model: Model, ours: str, theirs: str) -> list[TensorMap]:
    qkv = tuple(f"{theirs}self_attn.{name}_proj.weight" for name in "qkv")
    halves = (f"{theirs}mlp.gate_proj.weight", f"{theirs}mlp.up_proj.weight")
    return [
        same(ours + "input_layernorm.weight", theirs + "input_layernorm.weight"),
        TensorMap(
            ours + "self_attention.linear_qkv.weight",
            qkv,
            lambda a: split_qkv(model, a),
            lambda t: join_qkv(model, t),
        ),
        same(ours + "self_attention.linear_proj.weight", theirs + "self_attn.o_proj.weight"),
        same(ours + "pre_mlp_layernorm.weight", theirs + "post_attention_layernorm.weight"),
        TensorMap(ours + "mlp.linear_fc1.weight", halves, lambda a: np.split(a, 2), np.concatenate),
        same(ours + "mlp.linear_fc2.weight", theirs + "mlp.down_proj.weight"),
    ]
