"""Isolated atoms in a data set: frames of one atom, marked by `config_type=IsolatedAtom`, whose energies are E₀."""

from __future__ import annotations

import numpy as np

from molgen.data.label_names import CONFIG_TYPE
from molgen.data.table import Table
from molgen.elements import SYMBOLS

__all__ = ["isolated_energies", "isolated_frames"]

_SAME = 1e-6  # eV, between two isolated atoms of one element


def isolated_frames(table: Table) -> np.ndarray:
    """[B] bool: the frames that are marked as isolated atoms.

    Raises:
        FileFormatError: a frame so marked has several atoms.
    """
    marked = np.zeros(len(table.counts), bool)
    for name, column in table.columns.items():
        if name.lower() != CONFIG_TYPE or column.texts is None:
            continue
        for text, frame in zip(column.texts, np.flatnonzero(column.present).tolist(), strict=True):
            marked[frame] = text.lower().replace("_", "").replace(" ", "") == "isolatedatom"
    wrong = marked & (table.counts != 1)
    if wrong.any():
        frame = int(np.flatnonzero(wrong)[0])
        raise table.wrong(f"{CONFIG_TYPE}=IsolatedAtom marks {table.counts[frame]} atoms", frame, "one atom")
    return marked


def isolated_energies(table: Table, frames: np.ndarray, energy: np.ndarray, key: str) -> dict[int, float]:
    """Atomic number to energy of the isolated atom.

    Args:
        table: all frames.
        frames: [B] bool, which are isolated atoms.
        energy: [B] eV, NaN where a frame has none.
        key: of the energy, for messages.

    Raises:
        FileFormatError: an isolated atom without energy, or two of one element that differ.
    """
    first_atom = np.cumsum(table.counts) - table.counts
    found: dict[int, tuple[float, int]] = {}
    for frame in np.flatnonzero(frames).tolist():
        number, value = int(table.numbers[first_atom[frame]]), float(energy[frame])
        symbol = SYMBOLS[number]
        if np.isnan(value):
            raise table.wrong(f"the isolated {symbol} atom has no {key!r}", frame, "its energy")
        if number in found and abs(found[number][0] - value) > _SAME:
            other = table.place(found[number][1])
            what = f"{key!r} of an isolated {symbol} atom is {value:g}, and {found[number][0]:g} in {other}"
            raise table.wrong(what, frame, "one energy for each element")
        found.setdefault(number, (value, frame))
    return {number: value for number, (value, _) in sorted(found.items())}
