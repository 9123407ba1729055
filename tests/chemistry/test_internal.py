"""Internal coordinates beside loops over atoms."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from itertools import combinations

import numpy as np
import pytest
import torch

from molgen.chemistry.internal import Coordinates, internal
from molgen.chemistry.molecules import Molecules
from molgen.chemistry.perception import perceive
from molgen.structures import Structures, concatenate

# Å and degrees: what rounding of float64 leaves
TOLERANCE = 1e-6


def angle(u: np.ndarray, v: np.ndarray) -> float:
    return math.degrees(math.acos(max(-1.0, min(1.0, float(u @ v / np.linalg.norm(u) / np.linalg.norm(v))))))


def slow(molecules: Molecules, b: int) -> dict[str, dict[tuple, list[float]]]:
    """By kind and type all values of one molecule, from RDKit's molecule."""
    mol = molecules.perceived[b].mol
    if mol is None:
        return {"bond_lengths": {}, "angles": {}, "torsions": {}}
    x = mol.GetConformer().GetPositions()
    z = [atom.GetSymbol() for atom in mol.GetAtoms()]
    order = {}
    for bond in mol.GetBonds():
        ends = bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()
        order[ends] = order[ends[::-1]] = "aromatic" if bond.GetIsAromatic() else int(bond.GetBondTypeAsDouble())
    near = {i: sorted(j for k, j in order if k == i) for i in range(len(z))}
    found: dict[str, dict[tuple, list[float]]] = {"bond_lengths": {}, "angles": {}, "torsions": {}}
    for i, j in order:
        if i < j:
            kind = (*sorted((z[i], z[j])), order[i, j])
            found["bond_lengths"].setdefault(kind, []).append(float(np.linalg.norm(x[i] - x[j])))
            for k in near[i]:
                for l in near[j]:
                    if k in (j, l) or l == i:
                        continue
                    if any(
                        180 - angle(*pair) < 3.5 for pair in ((x[k] - x[i], x[j] - x[i]), (x[i] - x[j], x[l] - x[j]))
                    ):
                        continue
                    chain = (z[k], z[i], z[j], z[l])
                    axis = (x[j] - x[i]) / np.linalg.norm(x[j] - x[i])
                    one, other = (v - (v @ axis) * axis for v in (x[k] - x[i], x[l] - x[j]))
                    found["torsions"].setdefault((min(chain, chain[::-1]), order[i, j]), []).append(angle(one, other))
    for j, neighbours in near.items():
        for i, k in combinations(neighbours, 2):
            sides = sorted(((z[i], str(order[i, j])), (z[k], str(order[j, k]))))
            found["angles"].setdefault((z[j], *sides), []).append(angle(x[i] - x[j], x[k] - x[j]))
    return found


def grouped(found: Coordinates, b: int) -> list[list[float]]:
    """The values of one molecule in groups of equal type."""
    values, types = found.values[found.owners == b], found.types[found.owners == b]
    return in_order(values[types == kind].tolist() for kind in np.unique(types))


def in_order(groups: Iterable[list[float]]) -> list[list[float]]:
    """Sorted by their values, where zeros that differ by rounding are equal."""
    return sorted((sorted(group) for group in groups), key=lambda group: [round(value, 3) for value in group])


@pytest.mark.parametrize("kind", ["bond_lengths", "angles", "torsions"])
def test_values_and_groups_are_those_of_a_loop_over_atoms(kind, real):
    molecules = Molecules(real)
    for b in range(len(real)):
        expected = in_order(slow(molecules, b)[kind].values())
        found = grouped(getattr(molecules.internal, kind), b)
        assert [len(group) for group in found] == [len(group) for group in expected]
        for group, wanted in zip(found, expected, strict=True):
            assert group == pytest.approx(wanted, abs=1e-4)  # the arc cosine of the loop is poor near 180 degrees


def test_types_are_equal_in_all_molecules(real):
    """As many values of each type in the whole set as the loop counts."""
    molecules = Molecules(real)
    for kind in ("bond_lengths", "angles", "torsions"):
        counts: Counter = Counter()
        for b in range(len(real)):
            counts.update({key: len(values) for key, values in slow(molecules, b)[kind].items()})
        found = getattr(molecules.internal, kind)
        assert sorted(np.unique(found.types, return_counts=True)[1].tolist()) == sorted(counts.values())


def test_order_of_atoms_motion_and_mirrors_change_nothing(real):
    ethanol = real.select([3])
    n = len(ethanol.species)
    shuffled = torch.randperm(n, generator=torch.Generator().manual_seed(0))
    mirror = ethanol.positions[shuffled] * torch.tensor([-1.0, 1, 1], dtype=torch.float64) + 3
    other = Structures.build(mirror, ethanol.species[shuffled])
    for kind in ("bond_lengths", "angles", "torsions"):
        one, two = (getattr(Molecules(each).internal, kind) for each in (ethanol, other))
        first, second = (sorted(zip(c.types.tolist(), c.values.tolist(), strict=True)) for c in (one, two))
        assert [t for t, _ in first] == [t for t, _ in second]
        assert [v for _, v in first] == pytest.approx([v for _, v in second], abs=TOLERANCE)


def test_all_bonds_of_benzene_are_of_one_kind_and_linear_chains_have_no_torsion(real, neutral):
    names = list(neutral)
    benzene = Molecules(real.select([names.index("C6H6")])).internal
    assert sorted(np.unique(benzene.bond_lengths.types, return_counts=True)[1].tolist()) == [6, 6]
    acetylene = Molecules(real.select([names.index("C2H2")])).internal
    assert acetylene.angles.values == pytest.approx([180, 180], abs=1e-3)
    assert len(acetylene.torsions.values) == 0


def test_what_is_no_molecule_or_periodic_has_none():
    water = Structures.build([[0.0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]], [8, 1, 1])
    atom = Structures.build([[0.0, 0, 0]], [6])
    broken = water.replace(positions=water.positions * math.nan)
    bonds = {"bonds": [[0, 1], [0, 2]], "bond_orders": [1, 1], "bonds_known": [True]}
    cell = Structures.build(water.positions, water.species, cell=[torch.eye(3).tolist()], pbc=[[True] * 3], **bonds)
    batch = concatenate([broken, atom, cell, Structures.build([], [], n_atoms=[0]), water])
    found = internal(batch, perceive(batch))
    assert found.bond_lengths.owners.tolist() == [4, 4]
    assert found.angles.owners.tolist() == [4]
    assert found.bond_lengths.n_molecules == 5
    nothing = internal(batch.select([]), [])
    assert len(nothing.torsions.values) == nothing.torsions.n_molecules == 0
