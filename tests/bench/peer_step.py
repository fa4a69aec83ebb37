"""The training step that users have today, to time beside ours: Hugging Face's Llama in bf16,
torch.compile, SDPA attention, fused AdamW. Prints one line of JSON.

Needs torch and transformers, which nothing else here does:
python peer_step.py --hidden 2048 --layers 16 --ffn 8192 --micro-batch 4
"""

from __future__ import annotations

import argparse
import json
import statistics
import time

import torch
import transformers


def model_flops(args: argparse.Namespace, tokens: int) -> float:
    """6 per multiply-add weight and token and half of the attention matrix, as `runflat` counts."""
    query = args.heads * (args.hidden // args.heads)
    kv = args.groups * (args.hidden // args.heads)
    layer = 3 * args.hidden * args.ffn + args.hidden * (query + 2 * kv) + query * args.hidden
    weights = args.layers * layer + args.hidden * args.vocab
    return 6.0 * tokens * weights + 6.0 * args.layers * query * tokens * args.seq


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    for name, default in [
        ("hidden", 2048), ("layers", 16), ("ffn", 8192), ("heads", 32), ("groups", 8),
        ("vocab", 128256), ("seq", 4096), ("micro-batch", 4), ("steps", 12), ("warmup", 4),
    ]:
        parser.add_argument(f"--{name}", type=int, default=default)
    return parser.parse_args()


def main() -> None:
    args = parse()
    config = transformers.LlamaConfig(
        hidden_size=args.hidden,
        intermediate_size=args.ffn,
        num_hidden_layers=args.layers,
        num_attention_heads=args.heads,
        num_key_value_heads=args.groups,
        vocab_size=args.vocab,
        max_position_embeddings=args.seq,
        tie_word_embeddings=False,
        use_cache=False,
        attn_implementation="sdpa",
    )
    torch.manual_seed(1)
    with torch.device("cuda"):
        model = transformers.LlamaForCausalLM(config).to(torch.bfloat16)
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4, fused=True)
    compiled = torch.compile(model)
    ids = torch.randint(0, args.vocab, (args.micro_batch, args.seq), device="cuda")
    times = []
    for step in range(args.warmup + args.steps):
        torch.cuda.synchronize()
        start = time.perf_counter()
        loss = compiled(input_ids=ids, labels=ids).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        torch.cuda.synchronize()
        if step >= args.warmup:
            times.append(time.perf_counter() - start)
    seconds = statistics.median(times)
    flops = model_flops(args, args.micro_batch * args.seq)
    print(
        json.dumps(
            {
                "peer": "transformers + torch.compile",
                "torch": torch.__version__,
                "transformers": transformers.__version__,
                "gpu": torch.cuda.get_device_name(),
                "step_time_ms": 1e3 * seconds,
                "tflops_per_gpu": flops / seconds / 1e12,
            }
        )
    )


if __name__ == "__main__":
    main()
