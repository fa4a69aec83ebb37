"""The command `runflat`: options in, files and tables out."""

from __future__ import annotations

from typing import Annotated

import typer

from runflat import __version__

app = typer.Typer(name="runflat", no_args_is_help=True, add_completion=False)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"runflat {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Plan and simulate LLM training that survives GPU failures."""


def main() -> None:
    app()
