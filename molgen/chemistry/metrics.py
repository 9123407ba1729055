"""`score`: how good a set of molecules is, beside the same numbers of reference data, with 95 % intervals.

Every metric is a row of `METRICS`: a name, the bonds that it looks at, and a function. Fractions of molecules have
Wilson's interval; atoms are clustered in molecules, and their interval says so.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import numpy as np
import torch

from molgen.chemistry.control import CONTROL_METRICS
from molgen.chemistry.intervals import Metric, clustered_fraction, fraction
from molgen.chemistry.molecules import Molecules
from molgen.chemistry.strain import RELAXATION_METRICS
from molgen.chemistry.table_molecules import TableMolecules
from molgen.errors import InputError
from molgen.structures import Structures

if TYPE_CHECKING:
    from rdkit.Chem import Mol

__all__ = ["METRICS", "Metric", "Metrics", "NamedMetric", "Reference", "comparison_table", "score"]

# structures of the reference whose SMILES are made for its own row: half a per cent of uncertainty, a few seconds
REFERENCE_SAMPLE: Final = 10_000


@dataclass(frozen=True)
class NamedMetric:
    """One metric: what it is called, what it means, and how it is measured."""

    name: str
    summary: str
    bonds: str  # which bonds it looks at
    measure: Callable[[TableMolecules, Reference | None], Metric | None]  # None where it has no meaning
    # the part of a reference that gives its ceiling; "same size" where the number falls with the size of the set
    ceiling: Literal["all", "sample", "same size", "none"]


class Metrics(Mapping[str, Metric]):
    """Named metrics of one set, and those of the reference that it was compared with.

    >>> Metrics({"validity": fraction(9, 10)})["validity"].value
    0.9
    """

    def __init__(self, values: Mapping[str, Metric], reference: Metrics | None = None) -> None:
        self._values = dict(values)
        self.reference = reference

    def __getitem__(self, name: str) -> Metric:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"Metrics({', '.join(f'{name}={metric.value:.4f}' for name, metric in self.items())})"

    def as_dict(self) -> dict[str, dict[str, float | int]]:
        """`{name: {"value", "low", "high", "n"}}`, fractions from 0 to 1."""
        return {name: metric.as_dict() for name, metric in self.items()}

    def to_json(self) -> str:
        """`as_dict` as JSON, the text of a run's `metrics.json`."""
        return json.dumps(self.as_dict(), indent=2) + "\n"

    def table(self) -> str:
        """Text for people: one row per metric, per cent with interval, the reference's own column beside."""
        return comparison_table({"molecules": self} | ({"reference": self.reference} if self.reference else {}))


class Reference:
    """Data to compare with. Scoring several sets against one `Reference` reads it once.

    Args:
        structures: the data.
        seed: which structures are drawn where a sample is enough.

    Raises:
        InputError: no structures.
    """

    def __init__(self, structures: Structures, *, seed: int = 0) -> None:
        if not len(structures.species):
            raise InputError("the reference has no structures", expected="at least one with atoms")
        self.molecules = TableMolecules(structures)
        self._order = np.random.default_rng(seed).permutation(len(structures))
        self._samples: dict[int, TableMolecules] = {}
        self._rows: dict[int, Metrics] = {}
        self._read_keys = np.zeros(0, dtype=np.uint64)
        self._smiles: set[str] = set()

    def smiles_among(self, keys: np.ndarray) -> set[str]:
        """The SMILES of all molecules of the reference that have one of these keys (and perhaps of others).

        Equal molecules have equal keys, so nothing else of the reference needs to be written as SMILES.
        """
        new = np.setdiff1d(keys, self._read_keys)
        self._smiles |= self.molecules.smiles_where(np.isin(self.molecules.keys, new))
        self._read_keys = np.union1d(self._read_keys, new)
        return self._smiles

    def metrics(self, n: int) -> Metrics:
        """The reference's own row, beside a set of n molecules: its ceiling."""
        n = min(n, len(self.molecules))
        if n not in self._rows:
            parts = {"all": self.molecules, "sample": self._sample(REFERENCE_SAMPLE), "same size": self._sample(n)}
            found = {m.name: m.measure(parts[m.ceiling], None) for m in METRICS if m.ceiling != "none"}
            self._rows[n] = Metrics({name: metric for name, metric in found.items() if metric is not None})
        return self._rows[n]

    def _sample(self, n: int) -> TableMolecules:
        n = min(n, len(self.molecules))
        if n not in self._samples:
            chosen = torch.from_numpy(self._order[:n])
            self._samples[n] = TableMolecules(self.molecules.structures.select(chosen))
        return self._samples[n]


def score(
    molecules: Molecules | Structures | Sequence[Mol],
    reference: Molecules | Structures | Sequence[Mol] | Reference | None = None,
    *,
    seed: int = 0,
) -> Metrics:
    """All metrics of a set of molecules; with a reference also novelty, and the reference's own row.

    Args:
        molecules: what to score; every structure counts, also those that are no molecules.
        reference: the training data, say; a `Reference` where several sets are compared with it.
        seed: draws the sample of the reference for its own row.

    Raises:
        InputError: nothing to score.
        StructureError: an RDKit molecule without coordinates, or None in the list.

    >>> water = Structures.build([[0.0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]], species=[8, 1, 1])
    >>> score(water)["d1_molecule_stability"].value
    1.0
    """
    # molecules that know of failures have a table that counts them
    subject = molecules.table if isinstance(molecules, Molecules) else TableMolecules(_structures(molecules))
    if not len(subject.structures.species):
        raise InputError("there is nothing to score", expected="at least one molecule with atoms")
    if reference is not None and not isinstance(reference, Reference):
        reference = Reference(_structures(reference), seed=seed)
    found = {metric.name: metric.measure(subject, reference) for metric in METRICS}
    own_row = reference.metrics(len(subject)) if reference else None
    return Metrics({name: metric for name, metric in found.items() if metric is not None}, own_row)


def comparison_table(columns: Mapping[str, Metrics]) -> str:
    """Text for people: a row per metric, a column per set; per cent, 95 % interval, and of how many.

    What is no fraction has its unit beside its name.
    """
    rows = [["%", "bonds", *columns]]
    for name, bonds, unit in _ROWS:
        if any(name in column for column in columns.values()):
            label = name if unit == "%" else f"{name}, {unit}"
            rows.append([label, bonds, *(_cell(column.get(name), unit) for column in columns.values())])
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(lines)


def _cell(metric: Metric | None, unit: str) -> str:
    if metric is None:
        return "–"
    if unit != "%":
        return f"{metric.value:.3f} ({metric.low:.3f}–{metric.high:.3f}) of {metric.n}"
    return f"{100 * metric.value:.2f} ({100 * metric.low:.2f}–{100 * metric.high:.2f}) of {metric.n}"


def _structures(given: Molecules | Structures | Sequence[Mol]) -> Structures:
    if isinstance(given, Structures):
        return given
    if isinstance(given, Molecules):
        return given.structures
    from molgen.conversion import from_rdkit

    return from_rdkit(given)


def _d1_atom_stability(subject: TableMolecules, reference: Reference | None) -> Metric:
    structures = subject.structures
    stable = torch.zeros(len(subject), dtype=torch.int64)
    stable.index_add_(0, structures.batch, subject.d1.atom_stable.long())
    return clustered_fraction(stable.numpy(), structures.n_atoms.numpy())


def _d1_molecule_stability(subject: TableMolecules, reference: Reference | None) -> Metric:
    return fraction(int(subject.d1.molecule_stable.sum()), len(subject))


def _validity(subject: TableMolecules, reference: Reference | None) -> Metric:
    return fraction(sum(smiles is not None for smiles in subject.smiles), len(subject))


def _connected_validity(subject: TableMolecules, reference: Reference | None) -> Metric:
    pairs = zip(subject.smiles, subject.n_fragments.tolist(), strict=True)
    return fraction(sum(smiles is not None and n == 1 for smiles, n in pairs), len(subject))


def _uniqueness(subject: TableMolecules, reference: Reference | None) -> Metric | None:
    valid = [smiles for smiles in subject.smiles if smiles is not None]
    return fraction(len(set(valid)), len(valid)) if valid else None


def _novelty(subject: TableMolecules, reference: Reference | None) -> Metric | None:
    unique = {smiles for smiles in subject.smiles if smiles is not None}
    if reference is None or not unique:
        return None
    return fraction(len(unique - reference.smiles_among(subject.keys)), len(unique))


_TABLE: Final = "distance table"

METRICS: Final[tuple[NamedMetric, ...]] = (
    NamedMetric(
        "d1_atom_stability",
        "atoms whose bond orders sum to a valence of the neutral atom (Hoogeboom et al. 2022)",
        _TABLE,
        _d1_atom_stability,
        "all",
    ),
    NamedMetric(
        "d1_molecule_stability", "molecules all of whose atoms are stable", _TABLE, _d1_molecule_stability, "all"
    ),
    NamedMetric(
        "validity",
        "molecules that RDKit sanitises; pieces are allowed, and the largest one is what uniqueness and novelty see",
        _TABLE,
        _validity,
        "sample",
    ),
    NamedMetric("connected_validity", "valid molecules in one piece", _TABLE, _connected_validity, "sample"),
    NamedMetric("uniqueness", "different SMILES, of the valid molecules", _TABLE, _uniqueness, "same size"),
    NamedMetric("novelty", "SMILES that the reference does not have, of the different ones", _TABLE, _novelty, "none"),
)

# of the table for people: name, bonds, unit
_ROWS: Final = (
    *((metric.name, metric.bonds, "%") for metric in METRICS),
    *((metric.name, "relaxed", metric.unit) for metric in RELAXATION_METRICS),
    *((metric.name, "none", "%") for metric in CONTROL_METRICS),
)
