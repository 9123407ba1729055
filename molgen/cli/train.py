"""`molgen train`: a config becomes a model file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from molgen.allocation import keep_freed_memory
from molgen.cli.options import Overwrite, Threads, apply_threads, warnings_told


def train(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="YAML file of the run.")],
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Override a key, as in training.steps=1000. May be repeated."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the newest checkpoint; start anew where there is none.")
    ] = False,
    devices: Annotated[int, typer.Option("--devices", min=1, help="Devices that share each batch.")] = 1,
    budget: Annotated[
        str | None, typer.Option("--budget", metavar="TIME", help="Save and stop after so long: 20m, 8h.")
    ] = None,
    anneal: Annotated[
        str | None,
        typer.Option(
            "--anneal",
            metavar="STEPS|TIME",
            help="With --resume: lower the learning rate from here on, over so many steps or so long, and end.",
        ),
    ] = None,
    threads: Threads = None,
    overwrite: Overwrite = False,
) -> None:
    """Train a model. Prints the path of its file; SIGINT, SIGTERM and --budget save what is needed to --resume."""
    keep_freed_memory()
    apply_threads(threads)
    from molgen.training import parse_override
    from molgen.training import train as run

    overrides = dict(parse_override(text) for text in set_ or [])
    if threads is not None:
        overrides["training.threads"] = threads
    with warnings_told():
        path = run(
            config,
            overrides=overrides,
            resume=resume,
            devices=devices,
            budget=budget,
            anneal=anneal,
            overwrite=overwrite,
        )
    typer.echo(path)
