"""`molgen score`: metrics of molecules in files, a column per file, beside the reference's own."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from molgen.cli.options import STDOUT, Json, Seed, Threads, apply_threads, write_json

if TYPE_CHECKING:
    from molgen.chemistry.metrics import Reference
    from molgen.chemistry.molecules import Molecules
    from molgen.structures import Structures

__all__ = ["score"]

# where a run's folder keeps all of its structures; its SDF lacks those that no bonds were perceived for
IN_RUN_FOLDER = "molecules.extxyz"
# in `molgen.chemistry.perception`'s words and in those of the table
_WORDS = {
    "rdkit": "perceived",
    "table+rdkit": "perceived on the distance table's",
    "table": "the distance table's",
    "none": "none",
}


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
            metavar="PATH",
            help="Data to compare with, such as the training data: adds novelty, distances of geometry and a column.",
        ),
    ] = None,
    json: Json = None,
    seed: Seed = 0,
    threads: Threads = None,
) -> None:
    """Score molecules: stability, validity, uniqueness, novelty, geometry, each with its 95 % interval."""
    apply_threads(threads)
    from molgen.chemistry import metrics, plausibility
    from molgen.chemistry.molecules import Molecules

    sets = {str(path): Molecules(_read(path)) for path in paths}
    compared = None if reference is None else metrics.Reference(_read(reference), seed=seed)
    columns = {name: metrics.score(molecules, compared) for name, molecules in sets.items()}
    # of several sets the largest decides how many molecules of the reference its own uniqueness is of
    ceiling = None if compared is None else compared.metrics(max(len(molecules) for molecules in sets.values()))
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
        "distance table: bonds from the coordinates (Hoogeboom et al. 2022); bonds in the files are not looked at\n"
        "given or perceived: bonds in the files, and where there are none those that RDKit perceives"
    )
    for name, molecules in sets.items():
        typer.echo(f"bonds of {name}: {_sources(molecules)}")
        if compared is not None:
            typer.echo(f"distances of {name} look at {_shares(molecules, compared)} of the reference")
    if not plausibility.is_installed():
        typer.echo("posebusters: not measured; pip install 'molgen[posebusters]' brings it")
    if compared is not None:
        typer.echo(f"reference: {reference}, {len(compared.molecules)} structures")


def _sources(molecules: Molecules) -> str:
    """Where the bonds come from, most of them first."""
    known = molecules.structures.bonds_known.tolist()
    if all(known):
        return f"given {len(known)}"
    pairs = zip(known, molecules.perceived, strict=True)
    counts = Counter("given" if given else _WORDS[found.source] for given, found in pairs)
    return ", ".join(f"{source} {n}" for source, n in counts.most_common())


def _shares(molecules: Molecules, reference: Reference) -> str:
    """How much of the reference's geometry is of types that both have often enough."""
    from molgen.chemistry.wasserstein import compared

    mine, known = molecules.internal, reference.perceived.internal
    shares = {
        "bonds": compared(mine.bond_lengths, known.bond_lengths),
        "angles": compared(mine.angles, known.angles),
        "torsions": compared(mine.torsions, known.torsions),
    }
    return ", ".join(f"{100 * share:.1f} % of the {name}" for name, share in shares.items())


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
