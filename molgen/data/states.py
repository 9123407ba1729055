"""Total charges and multiplicities of frames, from the keys that files have them under."""

from __future__ import annotations

import numpy as np

from molgen.conversion.charges import CHARGE_KEYS, SPIN_KEYS
from molgen.data.table import Column, Table

__all__ = ["INITIAL_CHARGES", "charges_and_spins"]

INITIAL_CHARGES = "initial_charges"  # ASE's column; their sum is the charge where no key tells it


def charges_and_spins(table: Table) -> tuple[np.ndarray, np.ndarray]:
    """[B] float64 charges in e, and [B] int64 multiplicities 2S + 1; neutral singlets where nothing is said.

    Raises:
        FileFormatError: keys that contradict each other, a multiplicity that is none; names frame and key.
    """
    charge, spin = np.zeros(len(table.counts)), np.ones(len(table.counts))
    initial = table.atom_columns.get(INITIAL_CHARGES)
    if initial is not None and initial.values is not None and initial.values.ndim == 1:
        rows = np.repeat(initial.present, table.counts)
        owner = np.repeat(np.arange(len(table.counts)), table.counts)[rows]
        # partial charges that should cancel leave a rest of rounding errors
        charge = np.round(np.bincount(owner, initial.values, minlength=len(table.counts)), 6)
    _fill(table, CHARGE_KEYS, charge, "a number of elementary charges")
    expected = "a multiplicity 2S + 1: 1, 2, 3, …"
    column = _fill(table, SPIN_KEYS, spin, expected)
    bad = (spin < 1) | (spin != np.round(spin))
    if bad.any() and column is not None:
        frame = int(np.flatnonzero(bad)[0])
        raise table.wrong(f"{column.name!r} is {spin[frame]:g}", frame, expected)
    return charge, spin.astype(np.int64)


def _fill(table: Table, names: tuple[str, ...], values: np.ndarray, expected: str) -> Column | None:
    """Write what the columns of these names say into `values`."""
    last: Column | None = None
    told = np.zeros(len(values), bool)
    for name, column in table.columns.items():
        if name.lower() not in names:
            continue
        if column.values is None or column.values[0].size != 1:
            frame = column.odd if column.odd is not None else int(np.flatnonzero(column.present)[0])
            raise table.wrong(f"{name!r} is no number", frame, expected)
        own = column.values.reshape(-1)
        if not np.isfinite(own).all():
            frame = int(np.flatnonzero(column.present)[np.flatnonzero(~np.isfinite(own))[0]])
            raise table.wrong(f"{name!r} is not finite", frame, expected)
        full = values.copy()
        full[column.present] = own
        differ = told & column.present & (full != values)
        if differ.any() and last is not None:
            frame = int(np.flatnonzero(differ)[0])
            raise table.wrong(f"{last.name!r} and {name!r} differ", frame, "one of them", "remove one of them")
        values[:] = full
        told |= column.present
        last = column
    return last
