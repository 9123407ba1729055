"""The program `molgen`: its commands, and how errors become one line on stderr and an exit code."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from typing import Annotated, Final

import typer

from molgen import __version__
from molgen.cli import data, samplers
from molgen.cli.certify import certify
from molgen.cli.evaluate import evaluate
from molgen.cli.generate import generate
from molgen.cli.info import info
from molgen.cli.md import md
from molgen.cli.models import models
from molgen.cli.options import ExitCode
from molgen.cli.plugins import plugins
from molgen.cli.relax import relax
from molgen.cli.score import score
from molgen.cli.train import train
from molgen.errors import MolgenError

__all__ = ["main", "run"]

_COMMANDS: Final = (generate, score, train, evaluate, certify, relax, md, info, models, plugins)
_GROUPS: Final = {"data": data.app, "samplers": samplers.app}

# typer carries its own copy of click or uses the installed one, by its version; the public exception leads to either.
_ClickException: Final[type[Exception]] = typer.BadParameter.__mro__[2]  # type: ignore[assignment]


def run() -> None:
    """The console script: exits with 0, 1, 2, 3 or 130 as `molgen.cli.options.ExitCode` says."""
    sys.exit(main(sys.argv[1:]))


def main(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code; errors are told in one line on stderr.

    Args:
        arguments: the command line without the program's name.
    """
    # Taken wherever it stands: who wants it has just seen a command fail, and adds it at the end.
    verbose = "--traceback" in arguments or os.environ.get("MOLGEN_TRACEBACK", "0") not in ("", "0")
    words = [word for word in arguments if word != "--traceback"]
    try:
        code = int(_app()(words, prog_name="molgen", standalone_mode=False) or 0)
        # Newer versions of typer end an interrupted command with this code, older ones raise Abort.
        return code if code != ExitCode.INTERRUPTED else _tell("interrupted", ExitCode.INTERRUPTED)
    except SystemExit as ended:  # shell completion, and a reader that closed our pipe
        return ended.code if isinstance(ended.code, int) else ExitCode.INTERNAL
    except (KeyboardInterrupt, typer.Abort):
        return _tell("interrupted", ExitCode.INTERRUPTED)
    except Exception as error:
        if verbose:
            traceback.print_exc()
        message, code = _describe(error)
        return _tell(message, code)


def _describe(error: Exception) -> tuple[str, ExitCode]:
    if isinstance(error, _ClickException):
        context = getattr(error, "ctx", None)
        see = f" (see `{context.command_path} --help`)" if context is not None else ""
        return f"{error.format_message()}{see}", ExitCode.USER  # type: ignore[attr-defined]
    if isinstance(error, MolgenError):
        return str(error), ExitCode.USER
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        # A place of the user's that no reader or writer of ours has put into words.
        return f"{error.strerror} ({error.filename})", ExitCode.USER
    message = f"internal: {type(error).__name__}: {error}; --traceback or MOLGEN_TRACEBACK=1 shows where"
    return message, ExitCode.INTERNAL


def _tell(message: str, code: ExitCode) -> ExitCode:
    # One line, and nothing in it that a terminal would obey: names may come from files of strangers.
    line = "".join(each if each.isprintable() else " " for each in message)
    typer.echo(f"molgen: error: {' '.join(line.split())}", err=True)
    return code


def _app() -> typer.Typer:
    app = typer.Typer(
        name="molgen",
        help="Generate, score and train equivariant models of molecules. Every model is a plugin.",
        pretty_exceptions_enable=False,
        invoke_without_command=True,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_options)
    for command in _COMMANDS:
        app.command(command.__name__)(command)
    for name, group in _GROUPS.items():
        app.add_typer(group, name=name)
    return app


def _options(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
    traceback: Annotated[bool, typer.Option("--traceback", help="Show the traceback of an error.")] = False,
) -> None:
    if version:
        typer.echo(f"molgen {__version__}")
        raise typer.Exit()
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
