"""Makes hf_<model>.txt: logits, losses and gradients of Hugging Face's Llama and GPT-2.

    RUNFLAT_GOLDEN_MODELS=/tmp/m build/tests/exec_tests "[.golden-models]"
    for m in tiny-llama tiny-gpt; do runflat ckpt convert /tmp/m/$m -o /tmp/hf/$m; done
    python make_hf_golden.py /tmp/hf/tiny-llama /tmp/hf/tiny-gpt   # needs torch and transformers

Computed in fp64, written with 9 significant digits. Tokens are [s, b]; gradients are those of the
sum of losses, under Megatron's names and in unit-major order. The way from Hugging Face's shapes to
that order is written down here once more, and shares nothing with `runflat ckpt`.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
import transformers

SEQ, BATCH = 8, 2


def megatron_gradients(config: dict, grad: dict) -> dict:
    """By Megatron's names, in unit-major order."""
    if config["model_type"] == "llama":
        heads, groups = config["num_attention_heads"], config["num_key_value_heads"]
        size = config["head_dim"]
        out = {
            "embedding.word_embeddings.weight": grad["model.embed_tokens.weight"],
            "decoder.final_layernorm.weight": grad["model.norm.weight"],
            "output_layer.weight": grad["lm_head.weight"],
        }
        for i in range(config["num_hidden_layers"]):
            ours, theirs = f"decoder.layers.{i}.", f"model.layers.{i}."
            q, k, v = (grad[f"{theirs}self_attn.{n}_proj.weight"] for n in "qkv")
            rows = []
            for g in range(groups):
                per_group = heads // groups * size
                rows += [q[g * per_group : (g + 1) * per_group]]
                rows += [k[g * size : (g + 1) * size], v[g * size : (g + 1) * size]]
            gate, up = grad[f"{theirs}mlp.gate_proj.weight"], grad[f"{theirs}mlp.up_proj.weight"]
            pairs = [row for column in zip(gate, up, strict=True) for row in column]
            out |= {
                ours + "input_layernorm.weight": grad[theirs + "input_layernorm.weight"],
                ours + "self_attention.linear_qkv.weight": np.concatenate(rows),
                ours + "self_attention.linear_proj.weight": grad[
                    theirs + "self_attn.o_proj.weight"
                ].T,
                ours + "pre_mlp_layernorm.weight": grad[theirs + "post_attention_layernorm.weight"],
                ours + "mlp.linear_fc1.weight": np.stack(pairs),
                ours + "mlp.linear_fc2.weight": grad[theirs + "mlp.down_proj.weight"].T,
            }
        return out
    heads = config["n_head"]
    size = config["n_embd"] // heads
    out = {
        "embedding.word_embeddings.weight": grad["transformer.wte.weight"],
        "embedding.position_embeddings.weight": grad["transformer.wpe.weight"],
    }
    for name in ("weight", "bias"):
        out[f"decoder.final_layernorm.{name}"] = grad[f"transformer.ln_f.{name}"]
        for i in range(config["n_layer"]):
            ours, theirs = f"decoder.layers.{i}.", f"transformer.h.{i}."
            # [in, 3 h] of all q, all k, all v; a bias has no rows of inputs.
            qkv = grad[f"{theirs}attn.c_attn.{name}"]
            columns = [
                qkv[..., part * heads * size + h * size : part * heads * size + (h + 1) * size]
                for h in range(heads)
                for part in range(3)
            ]
            fc1 = grad[f"{theirs}mlp.c_fc.{name}"]
            out |= {
                f"{ours}input_layernorm.{name}": grad[f"{theirs}ln_1.{name}"],
                f"{ours}pre_mlp_layernorm.{name}": grad[f"{theirs}ln_2.{name}"],
                f"{ours}self_attention.linear_qkv.{name}": np.concatenate(columns, axis=-1).T,
                # [in, out] there, and row-parallel weights are stored so here.
                f"{ours}self_attention.linear_proj.{name}": grad[f"{theirs}attn.c_proj.{name}"],
                f"{ours}mlp.linear_fc1.{name}": fc1.T,
                f"{ours}mlp.linear_fc2.{name}": grad[f"{theirs}mlp.c_proj.{name}"],
            }
    return out


def compute(folder: Path) -> dict:
    config = json.loads((folder / "config.json").read_text())
    model, report = transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float64, attn_implementation="eager", output_loading_info=True
    )
    assert set(report["missing_keys"]) <= {"lm_head.weight"}, report  # where it is tied
    assert not report["unexpected_keys"], report
    model.eval()  # no dropout
    s, b = np.arange(SEQ + 1)[:, None], np.arange(BATCH)[None, :]
    tokens = (5 * s * s + 11 * b + 3 * s * b + 1) % config["vocab_size"]
    ids, targets = tokens[:-1], tokens[1:]
    mask = ((s[:-1] + b) % 5 != 4).astype(np.float64)
    logits = model(input_ids=torch.from_numpy(ids.T.copy())).logits.transpose(0, 1)
    losses = torch.nn.functional.cross_entropy(
        logits.reshape(SEQ * BATCH, -1), torch.from_numpy(targets.reshape(-1)), reduction="none"
    ) * torch.from_numpy(mask.reshape(-1))
    losses.sum().backward()
    gradients = {name: it.grad.numpy() for name, it in model.named_parameters()}
    return {
        "ids": ids,
        "targets": targets,
        "loss_mask": mask,
        "logits": logits.detach().numpy(),
        "losses": losses.detach().numpy(),
    } | megatron_gradients(config, gradients)


def main() -> None:
    versions = f"transformers {transformers.__version__}, torch {torch.__version__}, fp64"
    for folder in map(Path, sys.argv[1:]):
        lines = [f"# make_hf_golden.py with {versions}"]
        for name, values in compute(folder).items():
            numbers = [f"{value:.9g}" for value in np.asarray(values).reshape(-1)]
            lines.append(f"> {name} {len(numbers)}")
            lines += [" ".join(numbers[i : i + 8]) for i in range(0, len(numbers), 8)]
        Path(f"hf_{folder.name}.txt").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
