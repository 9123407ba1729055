"""`read_labelled`: structures with the energies, forces, stresses, dipoles and charges that potentials are trained on.

Which key of the file is which label, and in which unit, is found by the rules of `molgen.data.label_names` and told by
:meth:`Labelled.describe`. Nothing is guessed silently: keys that contradict each other are an error, units that the
file doesn't state are told as assumed, and energies and forces that don't fit together are warned of.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from molgen.data.cache import Cache
from molgen.data.isolated import isolated_energies, isolated_frames
from molgen.data.label_choice import Choice, Origin, chosen, unit_of
from molgen.data.label_names import ATOM_LABELS, LABELS, SHAPES, VIRIAL, known
from molgen.data.label_units import DEFAULTS, UNITS_OF, factor, spelled
from molgen.data.memory import MemoryDataset
from molgen.data.readers import format_of
from molgen.data.records import wrong
from molgen.data.sources import table_of
from molgen.data.states import charges_and_spins
from molgen.data.table import Table
from molgen.data.unit_checks import Taken, suspicions
from molgen.elements import SYMBOLS
from molgen.errors import ConfigError, DroppedDataWarning, InputError, nearest
from molgen.structures import Structures

__all__ = ["LabelKey", "Labelled", "read_frames", "read_labelled"]

_LISTED = 5  # frames that a warning names
_CHUNK = 10_000  # structures of a cache that are looked at at once


@dataclass(frozen=True)
class LabelKey:
    """Where a label of a data set comes from."""

    label: str  # "energy", "forces", "stress", "dipole" or "charges"
    key: str  # as in the file
    unit: str  # that the file's numbers are in; molgen's own after reading is that of `label_units.DEFAULTS`
    count: int  # frames that have it
    n: int  # frames
    origin: Origin = "assumed"  # the unit: by default, by the user, by the file


@dataclass(frozen=True)
class Labelled:
    """A data set for potentials; see :func:`read_labelled`."""

    dataset: MemoryDataset | Cache
    keys: tuple[LabelKey, ...]
    isolated_energies: Mapping[int, float]  # atomic number → eV
    notes: tuple[str, ...]
    path: Path
    names: tuple[str, ...] = ()  # of all that the file has

    @property
    def structures(self) -> Structures:
        """All structures in one batch."""
        return self.dataset.structures(torch.arange(len(self.dataset)))

    @property
    def sources(self) -> dict[str, str]:
        """Key and unit of each label in the file that the data came from first, in words."""
        if isinstance(self.dataset, Cache):
            return dict(self.dataset.document.label_sources)
        return {key.label: f"{key.key!r} in {key.unit} ({key.origin})" for key in self.keys}

    def __len__(self) -> int:
        return len(self.dataset)

    def parts(self, chunk: int = 10_000) -> Iterator[Structures]:
        """All structures, some at a time."""
        for start in range(0, len(self), chunk):
            yield self.dataset.structures(torch.arange(start, min(start + chunk, len(self))))

    def select(self, indices: Sequence[int] | Tensor) -> Labelled:
        """The same with some of the frames, in memory."""
        some = self.dataset.structures(indices)
        keys = tuple(replace(key, count=int(_has(some, key.label).sum()), n=len(some)) for key in self.keys)
        return replace(self, dataset=MemoryDataset(some), keys=keys)

    def describe(self) -> list[str]:
        """What was read, in lines for the user: every label with its key and unit, and how they are known."""
        lines = [f"{self.path}: {len(self)} frames of {', '.join(SYMBOLS[z] for z in self.dataset.elements)}"]
        how = {"assumed": "assumed", "given": "as given", "stated": "as the file says"}
        for key in self.keys:
            having = "all frames" if key.count == key.n else f"{key.count} of {key.n} frames"
            lines.append(f"{key.label} from {key.key!r} in {key.unit} ({how[key.origin]}), {having}")
        if self.isolated_energies:
            energies = ", ".join(f"{SYMBOLS[z]} {energy:.4f}" for z, energy in sorted(self.isolated_energies.items()))
            lines.append(f"isolated atoms: {energies} eV")
        return [*lines, *self.notes]


def read_labelled(
    path: str | Path, *, keys: Mapping[str, str] | None = None, units: Mapping[str, str] | None = None
) -> Labelled:
    """A data set for potentials, from extended xyz (compressed too), an ASE database or trajectory, npz or a cache.

    Args:
        path: the file.
        keys: label to key in the file, such as `{"energy": "REF_energy"}`, where the usual names don't do. "virial"
            in place of "stress" names a virial.
        units: label to the unit that the file's numbers are in, such as `{"energy": "kcal/mol"}`; also "length" for
            positions and cells. Forces without a unit of their own follow the energy. By default those that the file
            states, else eV, eV/Å, eV/Å³, e·Å, e and Å.

    Returns:
        Structures in float64 with labels in eV, eV/Å, eV/Å³, e·Å and e; a label that a frame lacks is NaN there.
        A cache stays on disk, as it is.

    Raises:
        FileFormatError: a file that can't be read or has neither energies nor forces, keys that contradict each
            other, labels that are no finite numbers; names frame and key.
        InputError: a key that no frame has.
        ConfigError: an unknown label or unit.

    Warns:
        DroppedDataWarning: labels that some frames lack.
        UserWarning: numbers that don't fit the units that they are taken to be in.
    """
    labelled = read_frames(path, keys=keys, units=units)
    if not any(key.count for key in labelled.keys if key.label in ("energy", "forces")):
        raise wrong(
            "no frame has an energy or forces",
            labelled.path,
            remedy=_NAME_KEYS.format(", ".join(labelled.names) or "none"),
        )
    return labelled


def read_frames(
    path: str | Path, *, keys: Mapping[str, str] | None = None, units: Mapping[str, str] | None = None
) -> Labelled:
    """The same as :func:`read_labelled` without the demand for energies or forces."""
    path, keys = Path(path), dict(keys or {})
    for label in keys:
        if label not in SHAPES:
            raise ConfigError(f"there is no label {label!r}", remedy=nearest(label, SHAPES))
    for quantity in units or {}:
        if quantity not in UNITS_OF:
            raise ConfigError(f"there is no unit of {quantity!r} to set", remedy=nearest(quantity, UNITS_OF))
    units = {quantity: spelled(quantity, unit) for quantity, unit in (units or {}).items()}
    kind = format_of(path)
    if kind == "cache":
        return _of_cache(path, keys, units)
    if kind == "sdf":
        raise wrong("an SDF file has no forces", path, expected="extended xyz, an ASE database, npz or a cache")
    return _of_table(_read_table(path, kind, keys, units), keys, units)


def _of_table(table: Table, keys: Mapping[str, str], units: Mapping[str, str]) -> Labelled:
    path = table.path
    choices, notes = chosen(table, keys, units)
    isolated = isolated_frames(table)
    energies: dict[int, float] = {}
    for choice in choices:
        if choice.label == "energy" and isolated.any():
            energies = isolated_energies(table, isolated, choice.values, choice.key)
    kept = np.flatnonzero(~isolated)
    if len(kept) == 0:
        raise wrong("all frames are isolated atoms", path, expected="frames to train on")
    structures = _structures(table, choices)
    if len(kept) < len(table.counts):
        structures = structures.select(torch.from_numpy(kept))
    has = {label: _has(structures, label) for label in _held(structures)}
    n = len(kept)
    found = tuple(LabelKey(c.label, c.key, c.unit, int(has[c.label].sum()), n, c.origin) for c in choices)
    for key in found:
        _warn_of_missing(key, [table.place(int(frame)) for frame in kept[~has[key.label].numpy()]], path)
    if single := int((structures.n_atoms == 1).sum()):
        notes.append(f"frames of a single atom without config_type=IsolatedAtom are kept as frames: {single}")
    if table.others:
        notes.append(f"not read: {', '.join(sorted(table.others))}")
    names = tuple(sorted({*table.columns, *table.atom_columns, *table.others}))
    labelled = Labelled(MemoryDataset(structures), found, energies, tuple(notes), path, names)
    _warn_of_units(labelled)
    return labelled


_NAME_KEYS = "name their keys; the file has {}"


def _read_table(path: Path, kind: str, keys: Mapping[str, str], units: Mapping[str, str]) -> Table:
    named = set(keys.values())
    table = table_of(path, kind, lambda name: name in named or known(name, arrays=kind == "arrays"))
    scale = factor("length", unit_of(table, "length", units)[0])
    if scale != 1.0:
        table.positions *= scale
        table.cell = table.cell * scale
    return table


def _structures(table: Table, choices: Sequence[Choice]) -> Structures:
    charge, spin = charges_and_spins(table)
    labels = {choice.label: torch.from_numpy(choice.values) for choice in choices}
    return Structures.build(
        torch.from_numpy(table.positions),
        torch.from_numpy(table.numbers),
        torch.from_numpy(table.counts),
        cell=torch.from_numpy(table.cell),
        pbc=torch.from_numpy(table.pbc),
        charge=torch.from_numpy(charge),
        spin=torch.from_numpy(spin),
        atom_labels={name: values for name, values in labels.items() if name in ATOM_LABELS},
        structure_labels={name: values for name, values in labels.items() if name not in ATOM_LABELS},
    )


def _of_cache(path: Path, keys: Mapping[str, str], units: Mapping[str, str]) -> Labelled:
    if keys or units:
        raise InputError(
            "labels of a cache keep their names and units", where=str(path), remedy="leave the keys and units out"
        )
    cache = Cache.open(path)
    n = len(cache)
    lacking: dict[str, list[int]] = {}
    for start in range(0, n, _CHUNK):
        part = cache.structures(range(start, min(start + _CHUNK, n)))
        for label in _held(part):
            lacking.setdefault(label, []).extend((start + (~_has(part, label)).nonzero()[:, 0]).tolist())
    found = tuple(
        LabelKey(label, label, DEFAULTS[label], n - len(frames), n, "stated") for label, frames in lacking.items()
    )
    for key in found:
        _warn_of_missing(key, [f"structure {index}" for index in lacking[key.label]], path)
    notes = tuple(f"{label} was {source}" for label, source in cache.document.label_sources.items())
    names = tuple(name.partition(":")[2] for name in sorted(cache.document.labels))
    labelled = Labelled(cache, found, dict(cache.document.isolated_energies), notes, path, names)
    _warn_of_units(labelled)
    return labelled


def _has(structures: Structures, label: str) -> Tensor:
    """[B] bool: which structures have a label."""
    if label not in ATOM_LABELS:
        values = structures.structure_labels[label]
        return ~torch.isnan(values).reshape(len(values), -1).any(dim=1)
    values = structures.atom_labels[label]
    bad = torch.isnan(values).reshape(len(values), -1).any(dim=1)
    return torch.bincount(structures.batch[bad], minlength=len(structures)) == 0


def _held(structures: Structures) -> list[str]:
    return [label for label in LABELS if label in structures.atom_labels or label in structures.structure_labels]


def _warn_of_missing(key: LabelKey, places: Sequence[str], path: Path) -> None:
    if not places:
        return
    first = "; ".join(places[:_LISTED])
    warnings.warn(
        f"{path}: {len(places)} of {key.n} frames have no {key.label} ({key.key!r}), the first: {first}",
        DroppedDataWarning,
        stacklevel=3,
    )


def _warn_of_units(labelled: Labelled) -> None:
    first = labelled.dataset.structures(torch.arange(min(len(labelled), _CHUNK)))
    for suspicion in suspicions(first, _taken(labelled)):
        warnings.warn(f"{labelled.path}: {suspicion}", UserWarning, stacklevel=3)


def _taken(labelled: Labelled) -> dict[str, Taken]:
    return {key.label: Taken(key.key, key.unit, key.unit in UNITS_OF[VIRIAL]) for key in labelled.keys}
