"""`runflat ckpt convert` and `runflat ckpt info`."""

from __future__ import annotations

import math
import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from runflat._core import Checkpoint, ParseError
from runflat.ckpt_convert import export_weights, import_weights

ckpt_app = typer.Typer(
    name="ckpt", no_args_is_help=True, help="Checkpoints, and Hugging Face weights."
)


class WeightType(StrEnum):
    """What exported weights are stored in."""

    BF16 = "bf16"
    FP32 = "fp32"
    FP64 = "fp64"


@ckpt_app.command("convert")
def convert_command(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="SRC", help="A checkpoint, a folder of them, or a Hugging Face folder."
        ),
    ],
    output: Annotated[Path, typer.Option("-o", metavar="DST", help="A new folder.")],
    dtype: Annotated[
        WeightType | None,
        typer.Option(help="Of exported weights; else what the job trained in."),
    ] = None,
    vocab_size: Annotated[
        int | None,
        typer.Option(min=1, help="Tokens to export; else every row of the padded vocabulary."),
    ] = None,
    padded_vocab_size: Annotated[
        int | None,
        typer.Option(min=1, help="Rows after import, zero beyond; else the next multiple of 128."),
    ] = None,
) -> None:
    """Turn a checkpoint into Llama or GPT-2 weights for Hugging Face, or such weights into one."""
    if output.exists() and (not output.is_dir() or os.listdir(output)):
        raise ParseError(f"{output}: exists already; expected the name of a new folder")
    if (source / "config.json").exists():
        if dtype is not None or vocab_size is not None:
            raise ParseError("--dtype and --vocab-size go with an export")
        import_weights(source, output, padded_vocab_size=padded_vocab_size)
        typer.echo(f"{output}: {_description(Checkpoint(output))}")
    else:
        if padded_vocab_size is not None:
            raise ParseError("--padded-vocab-size goes with an import")
        export_weights(source, output, dtype=dtype, vocab_size=vocab_size)
        typer.echo(f"{output}: {_description(Checkpoint(source))}")


@ckpt_app.command("info")
def info_command(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="A checkpoint, or a folder of them.")
    ],
) -> None:
    """Verify every byte of a checkpoint and say what it holds."""
    checkpoint = Checkpoint(folder)
    checkpoint.verify()
    typer.echo(f"{checkpoint.path}: {_description(checkpoint)}")


def _description(checkpoint: Checkpoint) -> str:
    header = checkpoint.header
    num_parameters = sum(math.prod(shape) for _, shape in checkpoint.params)
    state = "weights and optimizer state" if header["has_moments"] else "weights"
    return (
        f"{header['model']['name']}, {num_parameters:,} parameters, "
        f"{state}, trained in {header['dtype']}, step {header['steps']:,} "
        f"({header['consumed_samples']:,} samples)"
    )
