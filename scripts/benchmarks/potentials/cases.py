"""The structures that potentials are measured on, and their files."""

from __future__ import annotations

import math
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
_SHIFT = 0.15  # Å, of molecules off their grid


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
    """A periodic cube of water at 1 g/cm³: molecules turned at random, near the points of a cubic grid.

    Where they don't fill the grid, the points that stay empty are chosen at random.

    >>> box = water(64)
    >>> len(box.species), round(float(box.cell[0, 0, 0]), 2)
    (192, 12.42)
    """
    random = np.random.default_rng(0)
    length = (molecules * _WATER_VOLUME) ** (1 / 3)
    points = math.ceil(round(molecules ** (1 / 3), 9))  # along an edge
    grid = np.stack(np.meshgrid(*3 * [np.arange(points)], indexing="ij"), axis=-1).reshape(-1, 3)
    chosen = grid[np.sort(random.permutation(len(grid))[:molecules])]
    centres = chosen * length / points + random.uniform(-_SHIFT, _SHIFT, (molecules, 3))
    positions = centres[:, None] + np.einsum("mij,aj->mai", _rotations(random, molecules), np.array(_WATER))
    return molgen.Structures.build(
        torch.tensor(positions.reshape(-1, 3), dtype=torch.float32),
        [8, 1, 1] * molecules,
        cell=length * torch.eye(3)[None],
        pbc=[[True, True, True]],
    )


def write(structures: molgen.Structures, path: Path) -> int:
    """The npz that the drivers read, edges within the cutoff in it; the number of edges."""
    graph = radius_graph(structures, CUTOFF)
    arrays = {name: getattr(structures, name) for name in ("positions", "species", "batch", "n_atoms", "cell", "pbc")}
    arrays |= {name: getattr(graph, name) for name in ("senders", "receivers", "cell_shifts")}
    arrays["elements"] = torch.tensor(ELEMENTS)
    np.savez(path, **{name: array.numpy() for name, array in arrays.items()})
    return len(graph.senders)


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
