"""The structures that potentials are measured on, and their files."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

import molgen
from molgen.neighbors import radius_graph

ELEMENTS = (1, 6, 7, 8)  # that every model knows
CUTOFF = 5.0  # Å

_MOLECULE = "Nc1ncccc1OCc1ccccc1"  # 3-(benzyloxy)pyridin-2-amine, 27 atoms, the one of the data set 3BPA
_WATER_VOLUME = 29.92  # Å³ of a molecule at 1 g/cm³
_WATER = ((0.0, 0.0, 0.0), (0.9572, 0.0, 0.0), (-0.2400, 0.9266, 0.0))  # Å: O, H, H in the gas
_OF_STRUCTURES = ("positions", "species", "batch", "n_atoms", "cell", "pbc")
_SHIFT = 0.15  # Å, of molecules off their grid
_TOUCHING = 1.3  # Å


@dataclass(frozen=True)
class Case:
    """What is measured.

    Args:
        name: as it is printed, and of its file.
        structures: made when they are needed.
        calls: in a turn; of short ones several, and their median counts.
    """

    name: str
    structures: Callable[[], molgen.Structures]
    calls: int = 1

    def write(self, folder: Path) -> None:
        """The npz that the drivers read: the structures, and their edges within the cutoff."""
        structures = self.structures()
        graph = radius_graph(structures, CUTOFF)
        arrays = {name: getattr(structures, name) for name in _OF_STRUCTURES}
        arrays |= {name: getattr(graph, name) for name in ("senders", "receivers", "cell_shifts")}
        arrays["elements"] = torch.tensor(ELEMENTS)
        np.savez(folder / f"{self.name}.npz", **{name: array.numpy() for name, array in arrays.items()})


def molecule(copies: int = 1) -> molgen.Structures:
    """A drug-like molecule of 27 atoms, as often as asked, each copy a little different."""
    from rdkit import Chem
    from rdkit.Chem import AllChem

    made = Chem.AddHs(Chem.MolFromSmiles(_MOLECULE))
    AllChem.EmbedMolecule(made, randomSeed=0)
    AllChem.MMFFOptimizeMolecule(made)
    positions = torch.tensor(made.GetConformer().GetPositions(), dtype=torch.float32).repeat(copies, 1)
    positions += 0.05 * torch.randn(positions.shape, generator=torch.Generator().manual_seed(0))
    species = [atom.GetAtomicNum() for atom in made.GetAtoms()]
    return molgen.Structures.build(positions, species * copies, [len(species)] * copies)


def water(molecules: int) -> molgen.Structures:
    """A periodic box of water at 1 g/cm³: molecules near the points of a cubic grid, turned at random.

    Where they don't fill the grid, the points that stay empty are chosen at random.

    >>> box = water(64)
    >>> len(box.species), [round(length, 2) for length in box.cell[0].diagonal().tolist()]
    (192, [12.42, 12.42, 12.42])
    """
    random = np.random.default_rng(0)
    points = np.array(_grid(molecules))  # along each edge
    spacing = (molecules * _WATER_VOLUME / points.prod()) ** (1 / 3)
    grid = np.stack(np.meshgrid(*map(np.arange, points), indexing="ij"), axis=-1).reshape(-1, 3)
    chosen = grid[np.sort(random.permutation(len(grid))[:molecules])]
    centres = chosen * spacing + random.uniform(-_SHIFT, _SHIFT, (molecules, 3))
    turns = _rotations(random, molecules)
    while True:
        positions = centres[:, None] + np.einsum("mij,aj->mai", turns, np.array(_WATER))
        box = molgen.Structures.build(
            torch.tensor(positions.reshape(-1, 3), dtype=torch.float32),
            [8, 1, 1] * molecules,
            cell=torch.diag(torch.tensor(points * spacing, dtype=torch.float32))[None],
            pbc=[[True, True, True]],
        )
        touching = _touching(box)
        if not len(touching):
            return box
        turns[touching] = _rotations(random, len(touching))


def _grid(molecules: int) -> tuple[int, int, int]:
    """Points along the edges of the smallest grid, as near to a cube as can be, that has enough of them."""
    n = 1
    while True:
        for edges in ((n, n, n), (n, n, n + 1), (n, n + 1, n + 1)):
            if math.prod(edges) >= molecules:
                return edges
        n += 1


def _touching(box: molgen.Structures) -> np.ndarray:
    """Molecules that have an atom too near to one of another molecule."""
    graph = radius_graph(box, _TOUCHING)
    to, of = graph.receivers // len(_WATER), graph.senders // len(_WATER)
    return to[to != of].unique().numpy()


def _rotations(random: np.random.Generator, n: int) -> np.ndarray:
    """[n, 3, 3], uniform: of unit quaternions."""
    q = random.standard_normal((n, 4))
    w, x, y, z = (q / np.linalg.norm(q, axis=1, keepdims=True)).T
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    return np.array(rows).transpose(2, 0, 1)
