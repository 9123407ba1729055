"""`molgen score`: metrics of molecules in files, a column per file, beside the reference's own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from molgen.cli.options import STDOUT, Json, Seed, Threads, apply_threads, write_json

if TYPE_CHECKING:
    from molgen.structures import Structures

__all__ = ["score"]

# where a run's folder keeps all of its structures; its SDF lacks those that no bonds were perceived for
IN_RUN_FOLDER = "molecules.extxyz"


def score(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="PATH...", help="Structures: sdf, xyz, extxyz, ASE db, npz, cache, or the folder of a run."
        ),
    ],
    reference: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH", help="Data to compare with, such as the training data: adds novelty and a column."
        ),
    ] = None,
    json: Json = None,
    seed: Seed = 0,
    threads: Threads = None,
) -> None:
    """Score molecules: stability, validity, uniqueness, novelty, each with its 95 % interval."""
    apply_threads(threads)
    from molgen.chemistry import metrics

    sets = {str(path): _read(path) for path in paths}
    compared = None if reference is None else metrics.Reference(_read(reference), seed=seed)
    columns = {name: metrics.score(structures, compared) for name, structures in sets.items()}
    # of several sets the largest decides how many molecules of the reference its own uniqueness is of
    ceiling = None if compared is None else compared.metrics(max(len(structures) for structures in sets.values()))
    if json is not None:
        found: dict[str, object] = {"files": {name: column.as_dict() for name, column in columns.items()}}
        if ceiling is not None:
            found["reference"] = {"path": str(reference), "metrics": ceiling.as_dict()}
        write_json(json, found)
    if json == STDOUT:
        return
    typer.echo(metrics.comparison_table(columns | ({"reference": ceiling} if ceiling is not None else {})))
    typer.echo(
        "\nvalue (95 % interval) of how many: atoms, molecules, valid ones (uniqueness), different ones (novelty)\n"
        "distance table: bonds from the coordinates (Hoogeboom et al. 2022); bonds in the files are not looked at"
    )
    if compared is not None:
        typer.echo(f"reference: {reference}, {len(compared.molecules)} structures")


def _read(path: Path) -> Structures:
    import warnings

    from molgen.data.readers import read
    from molgen.errors import DroppedDataWarning, InputError

    path = path / IN_RUN_FOLDER if path.is_dir() else path
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DroppedDataWarning)  # no label plays a part here
        structures = read(path)
    if not len(structures.species):
        raise InputError("there is nothing to score", where=str(path), expected="at least one molecule with atoms")
    if not (structures.species == 1).any():
        typer.echo(f"molgen: warning: {path} has no hydrogens; an atom without its hydrogens is not stable", err=True)
    return structures
