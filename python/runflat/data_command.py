"""`runflat data pack` and `runflat data info`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from runflat._core import IndexedDataset
from runflat.data_pack import pack
from runflat.progress import progress_on_stderr

data_app = typer.Typer(
    name="data", no_args_is_help=True, help="Training data in Megatron's .bin and .idx files."
)


@data_app.command("pack")
def pack_command(
    inputs: Annotated[
        list[Path],
        typer.Argument(
            metavar="IN...",
            help="JSON lines with a text each (.jsonl), text files, or folders of them.",
        ),
    ],
    output: Annotated[
        Path, typer.Option("-o", metavar="PREFIX", help="Write PREFIX.bin and PREFIX.idx.")
    ],
    tokenizer: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A tokenizer.json; else bytes are tokens."),
    ] = None,
    workers: Annotated[
        int, typer.Option(min=1, max=1024, help="Processes; the output is the same with any.")
    ] = 1,
    append_eod: Annotated[
        bool, typer.Option("--append-eod", help="End documents with the end-of-text token.")
    ] = False,
    key: Annotated[str, typer.Option(help="Where an object of a JSON line has its text.")] = "text",
) -> None:
    """Tokenize text, one document per line of JSON or per text file."""
    with progress_on_stderr("packing") as report:
        pack(
            inputs,
            output,
            tokenizer=tokenizer,
            workers=workers,
            append_eod=append_eod,
            key=key,
            report=report,
        )
    typer.echo(_description(output))


@data_app.command("info")
def info_command(
    prefix: Annotated[Path, typer.Argument(help="What PREFIX.bin and PREFIX.idx begin with.")],
) -> None:
    """Check the files from end to end and count what they hold."""
    typer.echo(_description(prefix))


def _description(prefix: Path) -> str:
    data = IndexedDataset(prefix)
    return (
        f"{prefix}: {data.num_documents:,} documents, {data.num_sequences:,} sequences, "
        f"{data.num_tokens:,} tokens, {data.token_type}"
    )
