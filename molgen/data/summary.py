"""`summarise`: what a data file holds, in numbers and units."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from molgen.data.cache import Cache
from molgen.data.labelled import read_frames
from molgen.data.layout import UNITS, CacheDocument
from molgen.data.readers import format_of, iterate
from molgen.data.records import wrong
from molgen.elements import SYMBOLS
from molgen.errors import InputError
from molgen.structures import Structures

__all__ = ["Label", "Summary", "file_hash", "summarise"]

_READ_BYTES = 1 << 20


@dataclass
class Label:
    """A label of the data."""

    per: str  # "atom" or "structure"
    unit: str
    shape: list[int]  # of one row
    count: int  # rows that have it; others are NaN
    minimum: float | None  # over those rows and all components, as the two that follow
    maximum: float | None
    rms: float | None


@dataclass
class Summary:
    """What a data file holds; every field is JSON."""

    path: str
    format: str
    bytes: int
    sha256: str  # of the file
    n_structures: int = 0
    n_atoms: int = 0
    atoms_per_structure: dict[str, int] = field(default_factory=dict)  # number of atoms → structures
    elements: dict[str, int] = field(default_factory=dict)  # symbol → atoms
    n_bonds: int = 0
    bonds_known: int = 0  # structures
    charged_atoms: int = 0
    charged: int = 0  # structures
    open_shell: int = 0  # structures that are no singlets
    periodic: int = 0  # structures
    labels: dict[str, Label] = field(default_factory=dict)
    energy_per_atom: list[float] | None = None  # lowest, mean and highest, eV
    isolated_energies: dict[str, float] = field(default_factory=dict)  # symbol → eV
    notes: list[str] = field(default_factory=list)  # where the labels come from
    units: dict[str, str] = field(default_factory=lambda: {"positions": "Å", "cell": "Å", "charge": "e"})
    precision: str = "as read"
    position_error: float = 0.0  # Å
    fingerprint: str | None = None  # of a cache's content
    source: dict[str, str] | None = None
    dropped_labels: list[str] = field(default_factory=list)


def summarise(
    path: str | Path,
    *,
    keys: Mapping[str, str] | None = None,
    units: Mapping[str, str] | None = None,
    others: Mapping[str, str] | None = None,
) -> Summary:
    """Read a whole data file and count what is in it.

    Args:
        path: any file that `molgen.data.readers.iterate` reads.
        keys: label to key in the file, as in `molgen.data.labelled.read_labelled`.
        units: label to unit, as there.
        others: key in the file to name of a label, as `molgen.data.readers.iterate` takes them; then `keys` and
            `units` have no say.

    Raises:
        FileFormatError: the file can't be read.
    """
    path = Path(path)
    kind = format_of(path)
    summary = Summary(path=str(path), format=kind, bytes=path.stat().st_size, sha256=file_hash(path))
    parts = iterate(path, keys=others) if others else _parts(path, kind, keys, units, summary)
    sizes: Counter[int] = Counter()
    elements: Counter[int] = Counter()
    totals: dict[str, _Totals] = {}
    for part in parts:
        _count(summary, part, sizes, elements)
        _add_labels(totals, part)
    summary.labels = {name: total.label() for name, total in totals.items()}
    if "structure:energy" in totals:
        summary.energy_per_atom = totals["structure:energy"].per_atom()
    summary.atoms_per_structure = {str(size): count for size, count in sorted(sizes.items())}
    summary.elements = {SYMBOLS[number]: count for number, count in sorted(elements.items())}
    if kind == "cache":
        _add_document(summary, Cache.open(path, verify=False).document)
    return summary


def _parts(
    path: Path, kind: str, keys: Mapping[str, str] | None, units: Mapping[str, str] | None, summary: Summary
) -> Iterable[Structures]:
    if kind in ("sdf", "cache"):
        if keys or units:
            raise InputError("labels of this format keep their names", where=str(path), remedy="leave the keys out")
        return iterate(path)
    labelled = read_frames(path, keys=keys, units=units)
    if not labelled.keys:
        return iterate(path)
    summary.notes = labelled.describe()[1:]
    summary.isolated_energies = _by_symbol(labelled.isolated_energies)
    return labelled.parts()


def _by_symbol(energies: Mapping[int, float]) -> dict[str, float]:
    return {SYMBOLS[number]: energy for number, energy in sorted(energies.items())}


def _add_document(summary: Summary, document: CacheDocument) -> None:
    summary.precision, summary.position_error = document.precision, document.position_error
    summary.fingerprint, summary.dropped_labels = document.fingerprint, list(document.dropped_labels)
    summary.source = document.source.model_dump() if document.source else None
    summary.isolated_energies = _by_symbol(document.isolated_energies)
    summary.notes = [f"{label} was {source}" for label, source in document.label_sources.items()]
    for name, unit in document.labels.items():
        summary.labels[name].unit = unit


def file_hash(path: Path) -> str:
    """Sha256 of a file.

    Raises:
        FileFormatError: the file can't be read.
    """
    running = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(_READ_BYTES):
                running.update(block)
    except OSError as error:
        raise wrong(f"can't read the file: {error.strerror or error}", path) from error
    return running.hexdigest()


def _count(summary: Summary, part: Structures, sizes: Counter[int], elements: Counter[int]) -> None:
    summary.n_structures += len(part)
    summary.n_atoms += len(part.species)
    summary.n_bonds += len(part.bonds)
    summary.bonds_known += int(part.bonds_known.sum())
    summary.charged_atoms += int((part.formal_charges != 0).sum())
    summary.charged += int((part.charge != 0).sum())
    summary.open_shell += int((part.spin != 1).sum())
    summary.periodic += int(part.pbc.any(dim=1).sum())
    for counter, values in ((sizes, part.n_atoms), (elements, part.species)):
        found, counts = torch.unique(values, return_counts=True)
        counter.update(dict(zip(found.tolist(), counts.tolist(), strict=True)))


@dataclass
class _Totals:
    """Sums over the rows of a label."""

    per: str
    name: str
    shape: list[int]
    count: int = 0
    numbers: int = 0
    squares: float = 0.0
    minimum: float = math.inf
    maximum: float = -math.inf
    energies: list[Tensor] = field(default_factory=list)  # per atom

    def label(self) -> Label:
        some = self.numbers > 0
        return Label(
            per=self.per,
            unit=UNITS.get(self.name, "not stated"),
            shape=self.shape,
            count=self.count,
            minimum=self.minimum if some else None,
            maximum=self.maximum if some else None,
            rms=math.sqrt(self.squares / self.numbers) if some else None,
        )

    def per_atom(self) -> list[float] | None:
        values = torch.cat(self.energies)
        return [float(values.min()), float(values.mean()), float(values.max())] if len(values) else None


def _add_labels(totals: dict[str, _Totals], part: Structures) -> None:
    for per, labels in (("atom", part.atom_labels), ("structure", part.structure_labels)):
        for name, values in labels.items():
            total = totals.setdefault(f"{per}:{name}", _Totals(per, name, list(values.shape[1:])))
            rows = values.double().reshape(len(values), -1)
            has = ~torch.isnan(rows).any(dim=1)
            numbers = rows[has]
            total.count += len(numbers)
            if per == "structure" and name == "energy":
                known = has & (part.n_atoms > 0)
                total.energies.append(rows[known, 0] / part.n_atoms[known])
            if numbers.numel():
                total.numbers += numbers.numel()
                total.squares += float(numbers.square().sum())
                total.minimum = min(total.minimum, float(numbers.min()))
                total.maximum = max(total.maximum, float(numbers.max()))
