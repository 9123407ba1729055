"""The text of frames in extended xyz, and the four files that they are dealt to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from ase.data import chemical_symbols

if TYPE_CHECKING:
    from organics.theory import Frame

__all__ = ["frame_text"]


def frame_text(frame: Frame, smiles: str, number: int) -> str:
    """One frame of an extended xyz file: Å, eV, eV/Å, e·Å, e.

    Args:
        frame: positions are written exactly; forces and charges to three decimals, energy to five.
        smiles: of its molecule.
        number: of its molecule.
    """
    decimals = 4 if frame.kind == "relaxed" else 3
    dipole = " ".join(_number(value, 4) for value in frame.dipole)
    lines = [
        str(len(frame.numbers)),
        "Properties=species:S:1:pos:R:3:REF_forces:R:3:REF_charges:R:1 "
        f'REF_energy={frame.energy:.5f} REF_dipole="{dipole}" config_type={frame.kind} '
        f'smiles="{smiles}" molecule={number} pbc="F F F"',
    ]
    for atom, position, force, charge in zip(frame.numbers, frame.positions, frame.forces, frame.charges, strict=True):
        numbers = [_number(value, decimals) for value in position]
        numbers += [_number(value, 3) for value in (*force, charge)]
        lines.append(" ".join((chemical_symbols[atom], *numbers)))
    return "\n".join(lines) + "\n"


def _number(value: float, decimals: int) -> str:
    return f"{np.round(value, decimals) + 0.0:.{decimals}f}"  # adding zero takes the sign off a rounded -0
