"""A neighbour list that is kept gives what a fresh one gives, whatever happens to the atoms."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms
from hypothesis import given, settings
from hypothesis import strategies as st
from simulation.potentials import SKEW, close, mixture, potential, silicon

from molgen.conversion import from_ase
from molgen.errors import ConfigError, StructureError
from molgen.neighbors import Graph, radius_graph
from molgen.simulation import Calculator
from molgen.simulation.neighbor_reuse import NeighborReuse

CUTOFF, SKIN = 4.0, 0.6  # Å

# eV, eV/Å, eV/Å³: the same sums of the same edges, some of them in another order where images are counted otherwise
ROUNDING = 1e-10


def reuse(cutoff: float | None = CUTOFF, skin: float = SKIN) -> NeighborReuse:
    return NeighborReuse(lambda structures, skin: radius_graph(structures, CUTOFF, skin=skin), cutoff, skin)


def ask(kept: NeighborReuse, atoms: Atoms) -> Graph:
    structures = from_ase(atoms)
    graph, shortest = kept.edges(structures, atoms.positions, atoms.cell.array, atoms.pbc)
    graph = graph.with_positions(structures)
    assert np.isclose(shortest, graph.lengths.min(), rtol=0, atol=1e-9) or shortest >= CUTOFF
    return graph


def assert_as_fresh(graph: Graph, atoms: Atoms) -> None:
    fresh = radius_graph(from_ase(atoms), CUTOFF)
    for name in ("senders", "receivers", "cell_shifts", "reverse"):
        assert torch.equal(getattr(graph, name), getattr(fresh, name)), name
    assert torch.allclose(graph.vectors, fresh.vectors, rtol=0, atol=1e-12)
    assert torch.allclose(graph.lengths, fresh.lengths, rtol=0, atol=1e-12)


# what may happen to atoms between two calculations; each takes atoms and a random generator


def jitter(atoms: Atoms, rng: np.random.Generator) -> None:
    atoms.positions += rng.normal(size=atoms.positions.shape) * rng.choice([1e-3, 0.03, 0.3])


def wrap(atoms: Atoms, rng: np.random.Generator) -> None:
    atoms.wrap()


def gather(atoms: Atoms, rng: np.random.Generator) -> None:
    """All atoms towards their middle: two of them that face each other come nearer by twice as much as each moves."""
    inwards = atoms.positions.mean(0) - atoms.positions
    lengths = np.linalg.norm(inwards, axis=1, keepdims=True)
    atoms.positions += inwards / np.maximum(lengths, 1e-9) * rng.uniform(0, SKIN)


def unwrap_one(atoms: Atoms, rng: np.random.Generator) -> None:
    if atoms.pbc.any():
        axis = rng.choice(np.flatnonzero(atoms.pbc))
        atoms.positions[rng.integers(len(atoms))] += rng.choice([-1, 1]) * atoms.cell.array[axis]


def drift(atoms: Atoms, rng: np.random.Generator) -> None:
    atoms.positions += rng.normal(size=3) * rng.choice([0.01, 1.0, 50.0])


def strain(atoms: Atoms, rng: np.random.Generator) -> None:
    deform = np.eye(3) + rng.normal(size=(3, 3)) * rng.choice([1e-4, 5e-3, 0.05])
    atoms.set_cell(atoms.cell.array @ deform, scale_atoms=bool(rng.integers(2)))


def change_pbc(atoms: Atoms, rng: np.random.Generator) -> None:
    atoms.pbc = rng.integers(2, size=3).astype(bool)


def permute(atoms: Atoms, rng: np.random.Generator) -> None:
    order = rng.permutation(len(atoms))
    atoms.positions[:], atoms.numbers[:] = atoms.positions[order], atoms.numbers[order]


def swap_elements(atoms: Atoms, rng: np.random.Generator) -> None:
    i, j = rng.integers(len(atoms), size=2)
    atoms.numbers[[i, j]] = atoms.numbers[[j, i]]


def swap_places(atoms: Atoms, rng: np.random.Generator) -> None:
    i, j = rng.integers(len(atoms), size=2)
    atoms.positions[[i, j]] = atoms.positions[[j, i]]


def remove(atoms: Atoms, rng: np.random.Generator) -> None:
    if len(atoms) > 2:
        del atoms[int(rng.integers(len(atoms)))]


def equivalent_cell(atoms: Atoms, rng: np.random.Generator) -> None:
    cell = atoms.cell.array.copy()
    cell[0] += cell[1]
    if atoms.pbc.all():
        atoms.set_cell(cell)


EVENTS = (
    *(jitter, wrap, gather, gather, unwrap_one, drift, strain, change_pbc, permute),
    *(swap_elements, swap_places, remove, equivalent_cell),
)


@settings(max_examples=40)
@given(
    events=st.lists(st.sampled_from(EVENTS), min_size=1, max_size=8),
    seed=st.integers(0, 2**31),
    pbc=st.tuples(*[st.booleans()] * 3),
)
def test_after_any_history_results_are_those_of_a_fresh_calculator(events: list, seed: int, pbc: tuple) -> None:
    rng = np.random.default_rng(seed)
    atoms = mixture(8, seed=seed % 5, size=5.0, pbc=pbc)
    kept = Calculator(potential(), skin=SKIN)
    kept.get_forces(atoms)
    for event in events:
        event(atoms, rng)
        found, fresh = {}, {}
        for calculator, results in ((kept, found), (Calculator(potential(), skin=0.0), fresh)):
            try:
                results |= {"forces": calculator.get_forces(atoms), **calculator.results}
            except StructureError as error:  # atoms on top of each other, flat cells: refused alike
                results["error"] = str(error)
        assert found.keys() == fresh.keys()
        if "error" in found:
            return
        for name, value in fresh.items():
            scale = max(1.0, float(np.abs(value).max()))
            assert np.allclose(found[name], value, rtol=0, atol=ROUNDING * scale), (event.__name__, name)


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**31),
    events=st.lists(st.sampled_from([gather, jitter, strain, drift]), min_size=1, max_size=4),
)
def test_the_list_loses_no_pair(seed: int, events: list) -> None:
    rng = np.random.default_rng(seed)
    atoms = mixture(30, seed=seed % 3, size=9.0)
    kept = reuse()
    ask(kept, atoms)
    for event in events:
        event(atoms, rng)
        assert_as_fresh(ask(kept, atoms), atoms)


def test_the_list_is_kept_while_no_atom_has_moved_by_half_the_skin() -> None:
    atoms = mixture()
    kept = reuse()
    start = atoms.positions.copy()
    for distance, searches in ((0.0, 1), (0.1, 1), (0.29, 1), (0.31, 2), (0.35, 2)):
        atoms.positions = start
        atoms.positions[0, 0] += distance
        atoms.positions[1, 0] -= distance  # the middle of the atoms stays
        ask(kept, atoms)
        assert kept.searches == searches, distance


def test_a_drift_of_all_atoms_keeps_the_list() -> None:
    atoms = mixture()
    kept = reuse()
    ask(kept, atoms)
    atoms.positions += [30.0, -4.0, 7.0]
    assert_as_fresh(ask(kept, atoms), atoms)
    assert kept.searches == 1


def test_a_strain_of_cell_and_atoms_keeps_the_list_while_it_is_small() -> None:
    atoms = silicon()
    kept = reuse()
    ask(kept, atoms)
    cell = atoms.cell.array.copy()
    for size, searches in ((0.01, 1), (0.1, 1), (1.0, 1), (-3.0, 1), (10.0, 2)):
        atoms.set_cell(cell @ (np.eye(3) + size * SKEW), scale_atoms=True)
        assert_as_fresh(ask(kept, atoms), atoms)
        assert kept.searches == searches, size


def test_an_atom_put_back_into_the_cell_makes_a_new_search() -> None:
    atoms = mixture()
    kept = reuse()
    ask(kept, atoms)
    atoms.positions[3] += atoms.cell.array[1]
    assert_as_fresh(ask(kept, atoms), atoms)
    assert kept.searches == 2


def test_new_boundaries_or_another_number_of_atoms_make_a_new_search() -> None:
    atoms = mixture()
    kept = reuse()
    ask(kept, atoms)
    atoms.pbc = (True, True, False)
    assert_as_fresh(ask(kept, atoms), atoms)
    del atoms[0]
    assert_as_fresh(ask(kept, atoms), atoms)
    assert kept.searches == 3


def test_other_elements_make_no_new_search() -> None:
    atoms = mixture()
    calculator = Calculator(potential())
    energies = [calculator.get_potential_energy(atoms)]
    atoms.numbers[0] = 14
    energies.append(calculator.get_potential_energy(atoms))
    assert calculator._reuse.searches == 1
    assert close(energies[1], Calculator(potential()).get_potential_energy(atoms))
    assert not close(*energies)


def test_without_a_skin_every_call_searches() -> None:
    atoms = mixture()
    kept = reuse(skin=0.0)
    for searches in (1, 2):
        ask(kept, atoms)
        assert kept.searches == searches


def test_a_complete_graph_serves_for_ever() -> None:
    atoms = mixture(pbc=False)
    calculator = Calculator(potential(encoder={"channels": 8, "layers": 1}))
    for _ in range(3):
        atoms.rattle(0.5, rng=np.random.default_rng(len(atoms)))
        found = calculator.get_forces(atoms)
        assert close(found, Calculator(calculator.model).get_forces(atoms))
    assert calculator._reuse.searches == 1


def test_a_list_is_not_left_behind_by_a_search_that_failed() -> None:
    atoms = mixture()
    kept = reuse()
    ask(kept, atoms)
    flat = atoms.copy()
    flat.cell[2] = flat.cell[1]
    for _ in range(2):
        with pytest.raises(StructureError, match="not independent"):
            ask(kept, flat)
    assert_as_fresh(ask(kept, atoms), atoms)


@pytest.mark.parametrize("skin", [-0.1, float("nan"), float("inf"), "1", None, True])
def test_a_skin_that_is_no_length_is_refused(skin: Any) -> None:
    with pytest.raises(ConfigError, match="skin is"):
        reuse(skin=skin)
