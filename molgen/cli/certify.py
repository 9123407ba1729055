"""`molgen certify`: measures a model and writes what was measured into its file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from molgen.cli.data import Keys, Units, pairs
from molgen.cli.options import (
    STDOUT,
    Device,
    Json,
    Overwrite,
    Seed,
    Threads,
    apply_threads,
    choose_device,
    warnings_told,
    write_json,
)

__all__ = ["certify"]


def certify(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Name of a registered model, or path of a model file.")],
    quick: Annotated[
        bool, typer.Option("--quick", help="In about a minute: fewer structures, short runs, coarse limits.")
    ] = False,
    data: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Labelled structures that it was not trained on: measures its errors too."),
    ] = None,
    structures: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Structures to measure on, in place of some of the data or built ones."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a copy with the certificate; by default the file itself.")
    ] = None,
    key: Keys = None,
    unit: Units = None,
    seed: Seed = 0,
    device: Device = "cpu",
    threads: Threads = None,
    json: Json = None,
    overwrite: Overwrite = False,
) -> None:
    """Measure a model and write a certificate into its file: forces against the energy, equivariance, energy drift."""
    apply_threads(threads)
    from molgen.certify import certify as run

    with warnings_told():
        found = run(
            model,
            quick=quick,
            data=data,
            structures=structures,
            out=out,
            overwrite=overwrite,
            device=choose_device(device),
            seed=seed,
            keys=pairs("--key", key),
            units=pairs("--unit", unit),
            note=lambda text: typer.echo(f"{text} …", err=True),
        )
    if json is not None:
        write_json(json, dict(found.content))
    if json != STDOUT:
        typer.echo(found.table())
        typer.echo(found.path)
