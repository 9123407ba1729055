"""`summarise`: what a data file holds, in numbers and units."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch

from molgen.data.cache import Cache
from molgen.data.layout import UNITS
from molgen.data.readers import format_of, iterate
from molgen.data.records import wrong
from molgen.elements import SYMBOLS
from molgen.structures import Structures

__all__ = ["Label", "Summary", "file_hash", "summarise"]

_READ_BYTES = 1 << 20


@dataclass
class Label:
    """A label of the data."""

    per: str  # "atom" or "structure"
    unit: str
    shape: list[int]  # of one row


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
    units: dict[str, str] = field(default_factory=lambda: {"positions": "Å", "cell": "Å", "charge": "e"})
    precision: str = "as read"
    position_error: float = 0.0  # Å
    fingerprint: str | None = None  # of a cache's content
    source: dict[str, str] | None = None
    dropped_labels: list[str] = field(default_factory=list)


def summarise(path: str | Path, *, keys: Mapping[str, str] | None = None) -> Summary:
    """Read a whole data file and count what is in it.

    Args:
        path: any file that `molgen.data.readers.iterate` reads.
        keys: further labels, as there.

    Raises:
        FileFormatError: the file can't be read.
    """
    path = Path(path)
    kind = format_of(path)
    summary = Summary(path=str(path), format=kind, bytes=path.stat().st_size, sha256=file_hash(path))
    sizes: Counter[int] = Counter()
    elements: Counter[int] = Counter()
    first = True
    for part in iterate(path, keys=keys):
        _count(summary, part, sizes, elements)
        labels = _labels(part)
        # as in a cache: what only some parts have is no label of the whole
        summary.labels = labels if first else {name: label for name, label in summary.labels.items() if name in labels}
        first = False
    summary.atoms_per_structure = {str(size): count for size, count in sorted(sizes.items())}
    summary.elements = {SYMBOLS[number]: count for number, count in sorted(elements.items())}
    if kind == "cache":
        document = Cache.open(path, verify=False).document
        summary.precision, summary.position_error = document.precision, document.position_error
        summary.fingerprint, summary.dropped_labels = document.fingerprint, list(document.dropped_labels)
        summary.source = document.source.model_dump() if document.source else None
        for name, unit in document.labels.items():
            summary.labels[name].unit = unit
    return summary


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


def _labels(part: Structures) -> dict[str, Label]:
    return {
        f"{per}:{name}": Label(per=per, unit=UNITS.get(name, "not stated"), shape=list(values.shape[1:]))
        for per, labels in (("atom", part.atom_labels), ("structure", part.structure_labels))
        for name, values in labels.items()
    }
