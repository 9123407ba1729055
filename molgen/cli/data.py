"""`molgen data`: convert data into the cache that training reads, and look into data files."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from molgen.cli.options import STDOUT, Json, Overwrite, warnings_told, write_json

if TYPE_CHECKING:
    from molgen.data.labelled import Labelled
    from molgen.data.summary import Label, Summary

__all__ = ["Keys", "Units", "app", "convert", "info", "pairs"]

app = typer.Typer(help="Convert data into the cache that training reads, and look into data files.")

_BAR = 40  # characters of the longest bar of a histogram


class CachePrecision(StrEnum):
    """How positions are stored."""

    FLOAT32 = "float32"
    FLOAT64 = "float64"
    COMPACT = "compact"


Labels = Annotated[
    list[str] | None,
    typer.Option(
        "--label", metavar="KEY=NAME", help="Read KEY of the file as a further label NAME, in whatever unit it has."
    ),
]
Keys = Annotated[
    list[str] | None,
    typer.Option(
        "--key",
        metavar="LABEL=KEY",
        help="Where energy, forces, stress (or virial), dipole or charges are, such as energy=REF_energy.",
    ),
]
Units = Annotated[
    list[str] | None,
    typer.Option("--unit", metavar="LABEL=UNIT", help="The unit that the file has, such as energy=kcal/mol."),
]
_FILES = "An SDF, xyz, extxyz, ASE db or traj, npz or cache file; xyz and npz may be compressed."


@app.command("convert")
def convert(
    source: Annotated[Path, typer.Argument(help=_FILES)],
    out: Annotated[Path, typer.Option("--out", help="The cache to write.")],
    smiles: Annotated[
        Path | None, typer.Option("--smiles", help="An npz file with SMILES: take bonds and formal charges from them.")
    ] = None,
    precision: Annotated[
        CachePrecision | None,
        typer.Option(
            "--precision",
            help="compact: 16 bits per coordinate, centred molecules.",
            show_default="float64 with energies or forces, else float32",
        ),
    ] = None,
    key: Keys = None,
    unit: Units = None,
    label: Labels = None,
    overwrite: Overwrite = False,
) -> None:
    """Convert structures into a cache: one file, memory-mapped, with labels and bonds."""
    from molgen.data.cache import write_cache
    from molgen.data.layout import Source
    from molgen.data.readers import iterate
    from molgen.data.smiles_bonds import read_smiles, with_smiles
    from molgen.data.summary import file_hash
    from molgen.errors import OutputError

    if out.exists() and not overwrite:
        raise OutputError("the cache exists already", where=str(out), remedy="give --overwrite, or another name")
    with warnings_told():
        keys, units, others = pairs("--key", key), pairs("--unit", unit), pairs("--label", label)
        _check_options(keys or units, others or smiles)
        labelled = None if others or smiles else _labelled(source, keys, units)
        origin = Source(name=source.name, sha256=file_hash(source))
        if labelled is not None:
            for line in labelled.describe():
                typer.echo(line)
            document = write_cache(
                labelled.parts(),
                out,
                precision=(precision or CachePrecision.FLOAT64).value,
                source=origin,
                label_sources=labelled.sources,
                isolated_energies=labelled.isolated_energies,
            )
        else:
            batches = iterate(source, keys=others)
            if smiles is not None:
                batches = with_smiles(batches, read_smiles(smiles))
            document = write_cache(batches, out, precision=(precision or CachePrecision.FLOAT32).value, source=origin)
    typer.echo(
        f"{out}: {document.n_structures} structures, {document.n_atoms} atoms, bonds known of "
        f"{document.n_bonds_known}, {out.stat().st_size / 1e6:.1f} MB, fingerprint {document.fingerprint[:12]}"
    )


@app.command("info")
def info(
    path: Annotated[Path, typer.Argument(help=_FILES)],
    key: Keys = None,
    unit: Units = None,
    label: Labels = None,
    json: Json = None,
) -> None:
    """Print what a data file holds: sizes, elements, labels, and the units that it is taken to be in."""
    from dataclasses import asdict

    from molgen.data.summary import summarise

    with warnings_told():
        keys, units, others = pairs("--key", key), pairs("--unit", unit), pairs("--label", label)
        _check_options(keys or units, others)
        summary = summarise(path, keys=keys, units=units, others=others)
    if json is not None:
        write_json(json, asdict(summary))
    if json != STDOUT:
        typer.echo(_text(summary))


def _check_options(of_labels: object, further: object) -> None:
    from molgen.errors import ConfigError

    if of_labels and further:
        raise ConfigError("--key and --unit don't go with --label and --smiles", remedy="leave one kind out")


def _labelled(source: Path, keys: dict[str, str], units: dict[str, str]) -> Labelled | None:
    """The labels that potentials are trained on, if the file may have them and does."""
    from molgen.data.labelled import read_frames
    from molgen.data.readers import format_of

    if format_of(source) == "sdf" and not keys and not units:
        return None
    labelled = read_frames(source, keys=keys, units=units)
    return labelled if labelled.keys else None


def pairs(option: str, given: list[str] | None) -> dict[str, str]:
    """What a repeated option of the form FIRST=SECOND says.

    Raises:
        ConfigError: a text without one of them.
    """
    from molgen.errors import ConfigError

    forms = {
        "--key": "LABEL=KEY, such as energy=REF_energy",
        "--unit": "LABEL=UNIT, such as energy=kcal/mol",
        "--label": "KEY=NAME, such as gap_ev=gap",
    }
    found = {}
    for text in given or []:
        first, _, second = text.partition("=")
        if not first or not second:
            raise ConfigError(f"{option} {text}", expected=forms[option])
        found[first] = second
    return found


def _text(summary: Summary) -> str:
    def row(name: str, value: object) -> str:
        return f"{name:<16}{value}"

    error = f", positions within {summary.position_error:.1e} Å" if summary.position_error else ""
    lines = [
        row("file", f"{summary.path} ({summary.format}, {summary.bytes / 1e6:.2f} MB)"),
        row("precision", f"{summary.precision}{error}"),
        row("structures", summary.n_structures),
        row("atoms", f"{summary.n_atoms} ({', '.join(f'{s} {n}' for s, n in summary.elements.items())})"),
        row("bonds", f"{summary.n_bonds}, known of {summary.bonds_known} structures"),
        row("formal charges", f"on {summary.charged_atoms} atoms"),
        row("charged", f"{summary.charged} structures; {summary.open_shell} are no singlets"),
        row("periodic", f"{summary.periodic} structures"),
        row("units", ", ".join(f"{name} in {unit}" for name, unit in summary.units.items())),
    ]
    for name, label in sorted(summary.labels.items()):
        per, _, short = name.partition(":")
        lines.append(row("label", f"{short}, per {per}, shape {label.shape}, unit: {label.unit}{_range(label)}"))
    if summary.energy_per_atom:
        lowest, mean, highest = summary.energy_per_atom
        lines.append(row("energy per atom", f"{lowest:.4f} to {highest:.4f} eV, mean {mean:.4f} eV"))
    if summary.isolated_energies:
        energies = ", ".join(f"{symbol} {energy:.4f}" for symbol, energy in summary.isolated_energies.items())
        lines.append(row("isolated atoms", f"{energies} eV"))
    lines += [row("labels read", note) for note in summary.notes]
    if summary.dropped_labels:
        lines.append(row("left out", f"{', '.join(summary.dropped_labels)} (only some structures had them)"))
    if summary.source:
        lines.append(row("source", f"{summary.source['name']}, sha256 {summary.source['sha256']}"))
    lines.append(row("fingerprint", summary.fingerprint or f"sha256 of the file {summary.sha256}"))
    lines += ["", "atoms per structure"]
    most = max(summary.atoms_per_structure.values())
    for size, count in summary.atoms_per_structure.items():
        lines.append(f"{size:>6} {count:>8} {'█' * max(1, round(_BAR * count / most))}")
    return "\n".join(lines)


def _range(label: Label) -> str:
    if label.minimum is None:
        return ", none"
    return f"; {label.count} have it, {label.minimum:.7g} to {label.maximum:.7g}, RMS {label.rms:.5g}"
