"""The training step that users have today, to time beside ours: Hugging Face's Llama in bf16,
torch.compile, SDPA attention, fused AdamW, DDP over several GPUs. Writes one line of JSON.

`runflat bench step --peer` starts it, once per GPU. It needs torch and transformers, which nothing
else here does, and none of runflat:
python peer_step.py --hidden 2048 --layers 16 --ffn 8192 --micro-batch 4
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from contextlib import nullcontext
from pathlib import Path

import torch
import transformers

_DEFAULTS = {
    "hidden": 2048,
    "layers": 16,
    "ffn": 8192,
    "heads": 32,
    "groups": 8,
    "head-dim": 64,
    "vocab": 128256,
    "seq": 4096,
    "micro-batch": 4,
    "microbatches": 1,
    "steps": 12,
    "warmup": 4,
}
_RANK = int(os.environ.get("RANK", "0"))
_WORLD_SIZE = int(os.environ.get("WORLD_SIZE", "1"))


def model_flops(args: argparse.Namespace, tokens: int) -> float:
    """6 per multiply-add weight and token and half of the attention matrix, as `runflat` counts."""
    query = args.heads * args.head_dim
    kv = args.groups * args.head_dim
    layer = 3 * args.hidden * args.ffn + args.hidden * (query + 2 * kv) + query * args.hidden
    weights = args.layers * layer + args.hidden * args.vocab
    return 6.0 * tokens * weights + 6.0 * args.layers * query * tokens * args.seq


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    for name, default in _DEFAULTS.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--meeting-file", type=Path, help="where the ranks meet; absent before")
    parser.add_argument("--json", type=Path, default=Path("/dev/stdout"))
    return parser.parse_args()


def make_model(args: argparse.Namespace) -> torch.nn.Module:
    config = transformers.LlamaConfig(
        hidden_size=args.hidden,
        intermediate_size=args.ffn,
        num_hidden_layers=args.layers,
        num_attention_heads=args.heads,
        num_key_value_heads=args.groups,
        head_dim=args.head_dim,
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
    if _WORLD_SIZE == 1:
        return model
    device = torch.cuda.current_device()
    return torch.nn.parallel.DistributedDataParallel(
        model, device_ids=[device], gradient_as_bucket_view=True
    )


class Step:
    def __init__(self, args: argparse.Namespace) -> None:
        self.num_microbatches = args.microbatches
        self.model = make_model(args)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=3e-4, fused=True)
        self.compiled = torch.compile(self.model)
        self.ids = torch.randint(0, args.vocab, (args.micro_batch, args.seq), device="cuda")

    def run(self) -> None:
        for microbatch in range(self.num_microbatches):
            is_last = microbatch + 1 == self.num_microbatches
            with nullcontext() if is_last or _WORLD_SIZE == 1 else self.model.no_sync():
                loss = self.compiled(input_ids=self.ids, labels=self.ids).loss
                (loss / self.num_microbatches).backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)


def time_steps(step: Step, warmup: int, steps: int) -> list[float]:
    times = []
    for index in range(warmup + steps):
        torch.cuda.synchronize()
        start = time.perf_counter()
        step.run()
        torch.cuda.synchronize()
        if index >= warmup:
            times.append(time.perf_counter() - start)
    return times


def main() -> None:
    args = parse()
    torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    if _WORLD_SIZE > 1:
        torch.distributed.init_process_group(
            "nccl", init_method=f"file://{args.meeting_file}", rank=_RANK, world_size=_WORLD_SIZE
        )
    seconds = statistics.median(time_steps(Step(args), args.warmup, args.steps))
    flops = model_flops(args, args.microbatches * args.micro_batch * args.seq)
    result = {
        "peer": "transformers + torch.compile" + (" + DDP" if _WORLD_SIZE > 1 else ""),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "gpu": torch.cuda.get_device_name(),
        "step_time_ms": 1e3 * seconds,
        "tflops_per_gpu": flops / seconds / 1e12,
    }
    if _RANK == 0:
        args.json.write_text(json.dumps(result) + "\n")
    if _WORLD_SIZE > 1:
        torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
