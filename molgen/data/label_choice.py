"""Which key of a file is which label, in which unit, and its values in molgen's units."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from molgen.data.label_names import ATOM_LABELS, LABELS, SHAPES, UNIT_KEYS, VIRIAL, candidates, is_plain, is_reference
from molgen.data.label_units import DEFAULTS, UNITS_OF, factor, per_length, spelled
from molgen.data.table import Column, Table
from molgen.errors import ConfigError, InputError, nearest

__all__ = ["Choice", "Origin", "chosen", "unit_of"]

Origin = Literal["assumed", "given", "stated"]  # a unit: by default, by the user, by the file

# relative and absolute difference within which two keys say the same; files round to 8 digits or so
_SAME = 1e-6
_VOIGT = np.array([[0, 5, 4], [5, 1, 3], [4, 3, 2]])  # ASE's order: xx, yy, zz, yz, xz, xy


@dataclass(frozen=True)
class Choice:
    """A label, where it comes from, and its values."""

    label: str
    key: str
    unit: str  # that the file's numbers are in
    origin: Origin
    values: np.ndarray  # [B, ...] or [N, ...] in molgen's units, NaN where a frame lacks it


def chosen(table: Table, keys: Mapping[str, str], units: Mapping[str, str]) -> tuple[list[Choice], list[str]]:
    """The labels of a table, and what the user should know of them.

    Args:
        table: all frames; positions in Å.
        keys: label to key, where the user named one.
        units: quantity to unit, where the user named one; spelled as in `UNITS_OF`.

    Raises:
        InputError: the user named a key that no frame has.
        FileFormatError: keys that contradict each other, numbers of the wrong shape or not finite; units that differ
            between frames.
    """
    notes: list[str] = []
    choices = []
    for label in LABELS:
        if label == "stress" and VIRIAL in keys and "stress" in keys:
            raise ConfigError("both the stress and the virial are given a key", remedy="give one of them")
        found = _options(table, label, keys, notes)
        options = [_read(table, label, quantity, column, units) for quantity, column in found]
        if not options:
            continue
        first, *others = options
        for other in others:
            same = _compare(table, first, other)
            told = f"the same values as {first.key!r}" if same else f"other values than {first.key!r}, which is read"
            notes.append(f"{label}: {other.key!r} has {told}")
        if found[0][0] == VIRIAL:
            notes.append(f"stress = −{first.key}/volume")
        if label == "stress" and found[0][1].values is not None and found[0][1].values.shape[1:] == (6,):
            notes.append(f"{first.key}: six numbers are taken as xx, yy, zz, yz, xz, xy")
        choices.append(first)
    return choices, notes


def unit_of(
    table: Table, quantity: str, units: Mapping[str, str], present: np.ndarray | None = None
) -> tuple[str, Origin]:
    """The unit that a quantity of a file is in.

    Args:
        table: all frames.
        quantity: as in `UNITS_OF`.
        units: quantity to unit, where the user named one.
        present: [B] bool, the frames that have the quantity; by default all.

    Raises:
        FileFormatError: the file states a unit for some of these frames only, different units, or one that is not
            known.
    """
    stated = _stated(table, quantity)
    if quantity in units:
        if others := [each.unit for each in stated if each.unit != units[quantity]]:
            what = f"the file states {others[0]} for {quantity}, which you say to take in {units[quantity]}"
            warnings.warn(f"{table.path}: {what}", UserWarning, stacklevel=2)
        return units[quantity], "given"
    if stated:
        return _one_unit(table, quantity, stated, np.ones(len(table.counts), bool) if present is None else present)
    if quantity == "forces":
        energy, origin = unit_of(table, "energy", units, present)
        following = per_length(energy)
        if origin != "assumed" and following is not None:
            return following, origin
    return DEFAULTS[quantity], "assumed"


def _options(table: Table, label: str, keys: Mapping[str, str], notes: list[str]) -> list[tuple[str, Column]]:
    """Quantity and column of each key that may be the label: the first choice first, or the one that the user named."""
    columns = table.atom_columns if label in ATOM_LABELS else table.columns
    for quantity in (label, VIRIAL) if label == "stress" else (label,):
        if quantity in keys:
            key = keys[quantity]
            if key not in columns:
                raise _no_such_key(table, quantity, key, columns)
            if quantity == "stress" and candidates(VIRIAL, [key]):
                notes.append(f"{key!r} is read as a stress, as you say; a virial would be named by virial={key}")
            _check_shape(table, quantity, columns[key])
            return [(quantity, columns[key])]
    found = []
    for quantity in (label, VIRIAL) if label == "stress" else (label,):
        for key in candidates(quantity, columns, arrays=table.arrays):
            column = columns[key]
            if column.values is not None and column.values.shape[1:] not in SHAPES[quantity]:
                notes.append(f"{key!r} is not read: {_shape(column)}, where {label} has {_expected(quantity)}")
                continue
            _check_shape(table, quantity, column)
            found.append((quantity, column))
    return found


def _no_such_key(table: Table, label: str, key: str, columns: Mapping[str, Column]) -> InputError:
    kind = "atom" if label in ATOM_LABELS else "frame"
    other = table.columns if label in ATOM_LABELS else table.atom_columns
    if key in other:
        message = f"{key!r} has a value per {'frame' if kind == 'atom' else 'atom'}, {label} one per {kind}"
        return InputError(message, where=str(table.path))
    present = [*columns, *other, *table.others]
    remedy = nearest(key, present)
    return InputError(f"no frame has the key {key!r}", where=str(table.path), expected=f"the {label}", remedy=remedy)


def _check_shape(table: Table, quantity: str, column: Column) -> None:
    if column.values is None:
        frame = column.odd if column.odd is not None else int(np.flatnonzero(column.present)[0])
        raise table.wrong(
            f"{column.name!r} is no number, or has another shape than before", frame, _expected(quantity), _RENAME
        )
    if column.values.shape[1:] not in SHAPES[quantity]:
        frame = int(np.flatnonzero(column.present)[0])
        raise table.wrong(f"{column.name!r} has {_shape(column)}", frame, f"{_expected(quantity)}, as {quantity}")


_RENAME = "mend it, or name another key"


def _shape(column: Column) -> str:
    assert column.values is not None
    size = int(np.prod(column.values.shape[1:], dtype=int))
    return f"{size} number{'s' if size > 1 else ''} per {'atom' if column.per_atom else 'frame'}"


def _expected(quantity: str) -> str:
    sizes = sorted({int(np.prod(shape, dtype=int)) for shape in SHAPES[quantity]})
    per = "atom" if quantity in ATOM_LABELS else "frame"
    return f"{' or '.join(map(str, sizes))} number{'s' if sizes[-1] > 1 else ''} per {per}"


def _read(table: Table, label: str, quantity: str, column: Column, units: Mapping[str, str]) -> Choice:
    _check_finite(table, column)
    if quantity == VIRIAL and VIRIAL not in units and units.get("stress") in UNITS_OF[VIRIAL]:
        units = {**units, VIRIAL: units["stress"]}
    unit, origin = unit_of(table, quantity, units, column.present)
    assert column.values is not None
    values = column.values * factor(quantity, unit)
    present = column.present
    if quantity in ("stress", VIRIAL):
        values = _tensor(table, column, values)
    elif values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if quantity == VIRIAL:
        volume = np.abs(np.linalg.det(table.cell))[present]
        with np.errstate(divide="ignore", invalid="ignore"):
            values = np.where(volume[:, None, None] > 0, -values / volume[:, None, None], np.nan)
    if not present.all():
        rows = np.repeat(present, table.counts) if column.per_atom else present
        full = np.full((len(rows), *values.shape[1:]), np.nan)
        full[rows] = values
        values = full
    return Choice(label, column.name, unit, origin, values)


def _check_finite(table: Table, column: Column) -> None:
    values = column.values
    assert values is not None
    bad = ~np.isfinite(values).reshape(len(values), -1).all(axis=1)
    if not bad.any():
        return
    row = int(np.flatnonzero(bad)[0])
    what = f"{column.name!r} is {values[row].tolist()}"
    if column.per_atom:
        atoms = np.flatnonzero(np.repeat(column.present, table.counts))
        raise table.wrong_atom(what, int(atoms[row]), "finite numbers", _LEAVE_OUT)
    raise table.wrong(what, int(np.flatnonzero(column.present)[row]), "finite numbers", _LEAVE_OUT)


_LEAVE_OUT = "leave the key out of frames that lack it"


def _tensor(table: Table, column: Column, values: np.ndarray) -> np.ndarray:
    """[n, 3, 3] of nine numbers, or of six in Voigt's order."""
    full = values[:, _VOIGT] if values.shape[1:] == (6,) else values.reshape(-1, 3, 3)
    skew = np.abs(full - full.transpose(0, 2, 1)).max(axis=(1, 2))
    # what is left of a code's rounding errors is averaged away; more is no stress
    wrong = skew > 1e-2 * np.abs(full).max(axis=(1, 2)) + 1e-4
    if wrong.any():
        frame = int(np.flatnonzero(column.present)[np.flatnonzero(wrong)[0]])
        raise table.wrong(f"{column.name!r} is not symmetric", frame, "a symmetric 3×3 tensor")
    return 0.5 * (full + full.transpose(0, 2, 1))


def _compare(table: Table, first: Choice, other: Choice) -> bool:
    """Whether two keys say the same wherever both are; raise if not, unless one alone is marked as the reference."""
    both = np.isfinite(first.values) & np.isfinite(other.values)
    scale = np.maximum(np.abs(first.values), np.abs(other.values))
    differ = both & (np.abs(first.values - other.values) > _SAME * np.maximum(scale, 1.0))
    if first.label == "energy":  # a total energy is large beside what matters of it
        differ = both & (np.abs(first.values - other.values) > 1e-4)
    if differ.any() and is_reference(first.key) and is_plain(other.key):
        return False
    lacking = np.isnan(first.values) & np.isfinite(other.values)
    rows = (differ if differ.any() else lacking).reshape(len(differ), -1).any(axis=1)
    if not rows.any():
        return True
    row = int(np.flatnonzero(rows)[0])
    per_atom = first.label in ATOM_LABELS
    frame = int(np.searchsorted(np.cumsum(table.counts), row, side="right")) if per_atom else row
    what = "differ" if differ.any() else f"are of different frames: {other.key!r} is where {first.key!r} is not"
    remedy = f"name the one to read: {first.label}={first.key} or {first.label}={other.key}"
    raise table.wrong(f"{first.key!r} and {other.key!r} {what}", frame, f"one key for the {first.label}", remedy)


@dataclass(frozen=True)
class _Stated:
    unit: str
    key: str
    frame: int


def _stated(table: Table, quantity: str) -> list[_Stated]:
    """The units that a file states for a quantity, by their frames."""
    found: list[_Stated] = []
    for name, column in table.columns.items():
        own = name.lower() in UNIT_KEYS.get(quantity, ())
        if column.texts is None or not (own or name.lower() == "units"):
            continue
        for text, frame in zip(column.texts, np.flatnonzero(column.present).tolist(), strict=True):
            parts = [text] if own else [part for part in re.split(r"[,;\s]+", text) if part]
            for part in parts:
                try:
                    found.append(_Stated(spelled(quantity, part), name, frame))
                except ConfigError:
                    if own:
                        accepted = ", ".join(UNITS_OF[quantity])
                        raise table.wrong(f"{name!r} is {part!r}", frame, f"a unit of {quantity}: {accepted}") from None
    return sorted(found, key=lambda each: each.frame)


def _one_unit(
    table: Table, quantity: str, stated: Sequence[_Stated], present: np.ndarray
) -> tuple[str, Literal["stated"]]:
    """The unit that is stated, if it is the same in all frames that have the quantity."""
    first = stated[0]
    says = f"{first.key!r} says that the {quantity} is in {first.unit} in {table.place(first.frame)}"
    expected = "one unit, stated in every frame or in none"
    for each in stated:
        if each.unit != first.unit:
            of = "" if each.key == first.key else f", by {each.key!r},"
            remedy = f"convert the frames to one unit and give it: {_GIVE.format(quantity)}"
            raise table.wrong(f"{says} and{of} in {each.unit} here", each.frame, expected, remedy)
    lacking = present.copy()
    lacking[[each.frame for each in stated]] = False
    if lacking.any():
        frame = int(np.flatnonzero(lacking)[0])
        raise table.wrong(f"{says} and nothing here", frame, expected, f"give the unit: {_GIVE.format(quantity)}")
    return first.unit, "stated"


_GIVE = "{0} in data.units, or --unit {0}=UNIT"
