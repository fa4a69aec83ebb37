"""The command `runflat`: options in, files and tables out.

Exit status: 0 done, 2 usage or bad input, 3 no feasible plan, 4 peer lost, 130 interrupted.
"""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer
from typer.exceptions import TyperException

from runflat import InfeasibleError, ParseError, __version__
from runflat.bench_command import bench_app
from runflat.calibrate_command import calibrate_command
from runflat.ckpt_command import ckpt_app
from runflat.compare_command import compare_command
from runflat.data_command import data_app
from runflat.drill_command import drill_command
from runflat.faults_command import faults_app
from runflat.launch_command import launch_command
from runflat.plan_command import plan_command
from runflat.reproduce_command import reproduce_app
from runflat.step_command import step_command
from runflat.sweep_command import sweep_command
from runflat.train_command import train_command
from runflat.validate_command import validate_command
from runflat.whatif_command import whatif_command

app = typer.Typer(
    name="runflat",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("whatif")(whatif_command)
app.command("sweep")(sweep_command)
app.add_typer(reproduce_app, name="reproduce")
app.command("plan")(plan_command)
app.command("step")(step_command)
app.command("train")(train_command)
app.command("launch")(launch_command)
app.command("drill")(drill_command)
app.command("validate")(validate_command)
app.command("compare")(compare_command)
app.command("calibrate")(calibrate_command)
app.add_typer(bench_app)
app.add_typer(faults_app)
app.add_typer(data_app)
app.add_typer(ckpt_app)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"runflat {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="and exit")
    ] = False,
) -> None:
    """Plan, simulate and run LLM training that survives GPU failures."""


def main() -> None:
    """Runs the command line; every foreseeable failure becomes one line and an exit status."""
    try:
        sys.exit(app(standalone_mode=False) or 0)
    except TyperException as error:
        _fail(2, error.format_message())
    except ParseError as error:
        _fail(2, str(error))
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nothing left to flush to
        sys.exit(141)
    except OSError as error:
        _fail(2, f"{error.filename}: {error.strerror}")
    except InfeasibleError as error:
        _fail(3, str(error))
    except (typer.Abort, KeyboardInterrupt):
        _fail(130, "interrupted")


def _fail(status: int, reason: str) -> None:
    line = " ".join(reason.split())
    if line:  # empty where typer has printed its help
        print(f"runflat: {line}", file=sys.stderr)
    sys.exit(status)
