"""`score`: how good a set of molecules is, beside the same numbers of reference data, with 95 % intervals.

Every metric is a row of `METRICS`: a name, the bonds that it looks at, and a function. Fractions of molecules have
Wilson's interval; atoms are clustered in molecules, and their interval says so; distances between distributions are
resampled by molecules.
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
from molgen.chemistry.plausibility import plausible
from molgen.chemistry.strain import RELAXATION_METRICS
from molgen.chemistry.wasserstein import distance
from molgen.errors import InputError
from molgen.structures import Structures

if TYPE_CHECKING:
    from rdkit.Chem import Mol

__all__ = ["METRICS", "Metric", "Metrics", "NamedMetric", "Reference", "comparison_table", "score"]

# structures of the reference whose SMILES are made for its own row: half a per cent of uncertainty, a few seconds
REFERENCE_SAMPLE: Final = 10_000
# and of those whose bonds are perceived, which takes longer
PERCEIVED_SAMPLE: Final = 5_000


@dataclass(frozen=True)
class NamedMetric:
    """One metric: what it is called, what it means, and how it is measured."""

    name: str
    summary: str
    bonds: str  # which bonds it looks at
    measure: Callable[[Molecules, Reference | None], Metric | None]  # None where it has no meaning
    # the part of a reference that gives its ceiling: "same size" where the number falls with the size of the set,
    # "halves" where it compares with a reference: one part of the reference with the rest
    ceiling: Literal["all", "sample", "perceived", "same size", "halves", "none"]
    unit: Literal["%", "Å", "°"] = "%"  # "%": a fraction from 0 to 1, shown per cent


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

    def __init__(self, structures: Structures | Molecules, *, seed: int = 0) -> None:
        self.molecules = structures if isinstance(structures, Molecules) else Molecules(structures)
        if not len(self.molecules.structures.species):
            raise InputError("the reference has no structures", expected="at least one with atoms")
        self.seed = seed
        self._order = np.random.default_rng(seed).permutation(len(structures))
        self._samples: dict[int, Molecules] = {}
        self._rows: dict[int, Metrics] = {}
        self._read_keys = np.zeros(0, dtype=np.uint64)
        self._smiles: set[str] = set()

    @property
    def perceived(self) -> Molecules:
        """As many of the molecules as are perceived: what distributions are compared with."""
        return self._sample(PERCEIVED_SAMPLE)

    def smiles_among(self, keys: np.ndarray) -> set[str]:
        """The SMILES of all molecules of the reference that have one of these keys (and perhaps of others).

        Equal molecules have equal keys, so nothing else of the reference needs to be written as SMILES.
        """
        new = np.setdiff1d(keys, self._read_keys)
        table = self.molecules.table
        self._smiles |= table.smiles_where(np.isin(table.keys, new))
        self._read_keys = np.union1d(self._read_keys, new)
        return self._smiles

    def metrics(self, n: int) -> Metrics:
        """The reference's own row, beside a set of n molecules: its ceiling."""
        n = min(n, len(self.molecules))
        if n not in self._rows:
            found = {m.name: self._ceiling(m, n) for m in METRICS if m.ceiling != "none"}
            self._rows[n] = Metrics({name: metric for name, metric in found.items() if metric is not None})
        return self._rows[n]

    def _ceiling(self, metric: NamedMetric, n: int) -> Metric | None:
        if metric.ceiling == "halves":
            return self._halves(metric, n)
        sizes = {"sample": REFERENCE_SAMPLE, "perceived": PERCEIVED_SAMPLE, "same size": n}
        return metric.measure(self._sample(sizes.get(metric.ceiling, len(self.molecules))), None)

    def _halves(self, metric: NamedMetric, n: int) -> Metric | None:
        """As many molecules as were scored, at most half, against the others."""
        known = self.perceived
        order = np.random.default_rng(self.seed).permutation(len(known)).tolist()
        n = min(n, len(known) // 2)
        part, rest = known.select(order[:n]), known.select(order[n:])
        if not len(part.structures.species) or not len(rest.structures.species):
            return None
        return metric.measure(part, Reference(rest, seed=self.seed))

    def _sample(self, n: int) -> Molecules:
        if n >= len(self.molecules):
            return self.molecules
        if n not in self._samples:
            chosen = torch.from_numpy(self._order[:n])
            self._samples[n] = Molecules(self.molecules.structures.select(chosen))
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
    # molecules that know of failures count them
    subject = molecules if isinstance(molecules, Molecules) else Molecules(_structures(molecules))
    if not len(subject.structures.species):
        raise InputError("there is nothing to score", expected="at least one molecule with atoms")
    if reference is not None and not isinstance(reference, Reference):
        reference = Reference(reference if isinstance(reference, Molecules) else _structures(reference), seed=seed)
    found = {metric.name: metric.measure(subject, reference) for metric in METRICS}
    own_row = reference.metrics(len(subject)) if reference else None
    return Metrics({name: metric for name, metric in found.items() if metric is not None}, own_row)


def comparison_table(columns: Mapping[str, Metrics]) -> str:
    """Text for people: a row per metric, a column per set; per cent, 95 % interval, and of how many.

    What is no fraction has its unit beside its name.
    """
    rows = [["%", "bonds", *columns]]
    for name, bonds, unit, digits in _ROWS:
        if any(name in column for column in columns.values()):
            label = name if unit == "%" else f"{name}, {unit}"
            scale = 100 if unit == "%" else 1
            rows.append([label, bonds, *(_cell(column.get(name), scale, digits) for column in columns.values())])
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(lines)


def _cell(metric: Metric | None, scale: int, digits: int) -> str:
    if metric is None:
        return "–"
    value, low, high = (f"{scale * number:.{digits}f}" for number in (metric.value, metric.low, metric.high))
    return f"{value} ({low}–{high}) of {metric.n}"


def _structures(given: Structures | Sequence[Mol]) -> Structures:
    if isinstance(given, Structures):
        return given
    from molgen.conversion import from_rdkit

    return from_rdkit(given)


def _d1_atom_stability(subject: Molecules, reference: Reference | None) -> Metric:
    return _stable_atoms(subject.table.structures, subject.table.d1.atom_stable)


def _d1_molecule_stability(subject: Molecules, reference: Reference | None) -> Metric:
    return fraction(int(subject.table.d1.molecule_stable.sum()), len(subject))


def _d2_atom_stability(subject: Molecules, reference: Reference | None) -> Metric:
    return _stable_atoms(subject.structures.to("cpu"), subject.d2.atom_stable)


def _d2_molecule_stability(subject: Molecules, reference: Reference | None) -> Metric:
    return fraction(int(subject.d2.molecule_stable.sum()), len(subject))


def _stable_atoms(structures: Structures, atom_stable: torch.Tensor) -> Metric:
    stable = torch.zeros(len(structures), dtype=torch.int64)
    stable.index_add_(0, structures.batch, atom_stable.long())
    return clustered_fraction(stable.numpy(), structures.n_atoms.numpy())


def _validity(subject: Molecules, reference: Reference | None) -> Metric:
    return fraction(sum(smiles is not None for smiles in subject.table.smiles), len(subject))


def _connected_validity(subject: Molecules, reference: Reference | None) -> Metric:
    pairs = zip(subject.table.smiles, subject.table.n_fragments.tolist(), strict=True)
    return fraction(sum(smiles is not None and n == 1 for smiles, n in pairs), len(subject))


def _uniqueness(subject: Molecules, reference: Reference | None) -> Metric | None:
    valid = [smiles for smiles in subject.table.smiles if smiles is not None]
    return fraction(len(set(valid)), len(valid)) if valid else None


def _novelty(subject: Molecules, reference: Reference | None) -> Metric | None:
    unique = {smiles for smiles in subject.table.smiles if smiles is not None}
    if reference is None or not unique:
        return None
    return fraction(len(unique - reference.smiles_among(subject.table.keys)), len(unique))


def _posebusters(subject: Molecules, reference: Reference | None) -> Metric | None:
    return plausible(subject.perceived)


def _w1(kind: Literal["bond_lengths", "angles", "torsions"]) -> Callable[[Molecules, Reference | None], Metric | None]:
    def measure(subject: Molecules, reference: Reference | None) -> Metric | None:
        if reference is None:
            return None
        known = getattr(reference.perceived.internal, kind)
        return distance(getattr(subject.internal, kind), known, seed=reference.seed)

    return measure


_TABLE: Final = "distance table"
_OWN: Final = "given or perceived"

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
        "d2_atom_stability",
        "atoms with a closed-shell valence for their formal charge, by the molecule's own bonds, perceived where it "
        "has none",
        _OWN,
        _d2_atom_stability,
        "perceived",
    ),
    NamedMetric(
        "d2_molecule_stability",
        "molecules all of whose atoms are so, and whose charges sum to the total charge",
        _OWN,
        _d2_molecule_stability,
        "perceived",
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
    NamedMetric(
        "posebusters",
        "molecules that pass all checks of PoseBusters in its mode mol (Buttenschoen et al. 2024), at most 100 drawn",
        _OWN,
        _posebusters,
        "perceived",
    ),
    NamedMetric(
        "bond_length_w1",
        "distance of bond lengths from the reference's, by elements and order, averaged over its bonds",
        _OWN,
        _w1("bond_lengths"),
        "halves",
        "Å",
    ),
    NamedMetric(
        "angle_w1", "the same of angles, by their three elements and two orders", _OWN, _w1("angles"), "halves", "°"
    ),
    NamedMetric(
        "torsion_w1",
        "the same of torsions without sign, by their four elements and the order in the middle",
        _OWN,
        _w1("torsions"),
        "halves",
        "°",
    ),
)

# of the table for people: name, bonds, unit, decimals
_ROWS: Final = (
    *((metric.name, metric.bonds, metric.unit, 4 if metric.unit == "Å" else 2) for metric in METRICS),
    *((metric.name, "relaxed", metric.unit, 2 if metric.unit == "%" else 3) for metric in RELAXATION_METRICS),
    *((metric.name, "none", "%", 2) for metric in CONTROL_METRICS),
)
