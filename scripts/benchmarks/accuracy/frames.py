"""Frames that are dealt to files once, so that everyone who trains and is tested is given the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from molgen.atomic import write_atomically
from molgen.data.labelled import read_labelled
from molgen.elements import SYMBOLS
from molgen.structures import Structures

__all__ = ["deal", "isolated_energies", "read", "write"]


def deal(n: int, sizes: Sequence[int], seed: int) -> list[Tensor]:
    """Numbers from 0 to n − 1 in random order, cut into parts of these sizes.

    >>> [len(part) for part in deal(10, (7, 2), seed=0)]
    [7, 2]
    """
    order = torch.from_numpy(np.random.default_rng(seed).permutation(n))
    return list(order[: sum(sizes)].split(list(sizes)))


def read(path: Path, **options: Mapping[str, str]) -> Structures:
    """Labelled structures of a file; options as `read_labelled`."""
    return read_labelled(path, **options).structures  # type: ignore[arg-type]


def isolated_energies(path: Path) -> dict[str, float]:
    """eV by symbol, of a file with a frame for each isolated atom and its `energy` or `REF_energy`."""
    from ase.io import read as read_atoms

    energies = {}
    for atoms in read_atoms(path, ":"):
        given = atoms.info.get("REF_energy")
        energies[atoms.get_chemical_symbols()[0]] = float(atoms.get_potential_energy() if given is None else given)
    return energies


def write(path: Path, structures: Structures) -> Path:
    """Extended xyz with every digit; labels are `REF_energy`, `REF_forces` and `REF_stress`, which ASE leaves alone."""
    pieces = []
    stresses = structures.structure_labels.get("stress")
    for index, frame in enumerate(structures.split()):
        head = ["Properties=species:S:1:pos:R:3:REF_forces:R:3"]
        if bool(frame.pbc.any()):
            head.append(f'Lattice="{_row(frame.cell)}"')
        head.append(f"REF_energy={float(frame.structure_labels['energy'][0])!r}")
        if stresses is not None:
            head.append(f'REF_stress="{_row(stresses[index])}"')
        head.append('pbc="' + " ".join("T" if periodic else "F" for periodic in frame.pbc[0].tolist()) + '"')
        numbers = torch.cat((frame.positions, frame.atom_labels["forces"]), dim=1).tolist()
        rows = [
            f"{SYMBOLS[species]} {' '.join(map(repr, row))}"
            for species, row in zip(frame.species.tolist(), numbers, strict=True)
        ]
        pieces.append("\n".join([str(len(rows)), " ".join(head), *rows]) + "\n")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, "".join(pieces))
    return path


def _row(values: Tensor) -> str:
    return " ".join(map(repr, values.flatten().tolist()))
