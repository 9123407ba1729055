"""Graphs of structures, against ASE's neighbour list and against plain loops."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.neighborlist import neighbor_list
from hypothesis import given
from hypothesis import strategies as st
from strategies import structures

from molgen.conversion import to_ase
from molgen.errors import ConfigError, StructureError
from molgen.neighbors import Graph, complete_graph, radius_graph, safe_norm
from molgen.structures import Structures, concatenate

# Å; the same sums in another order
ROUNDING = 1e-12


def edges(graph: Graph) -> list[tuple[int, ...]]:
    return [
        (int(i), int(j), *shift)
        for i, j, shift in zip(graph.receivers, graph.senders, graph.cell_shifts.tolist(), strict=True)
    ]


def edges_by_ase(batch: Structures, cutoff: float) -> list[tuple[int, ...]]:
    found: list[tuple[int, ...]] = []
    for atoms, offset in zip(to_ase(batch), batch.offsets.tolist(), strict=True):
        if len(atoms):
            receivers, senders, shifts = neighbor_list("ijS", atoms, cutoff)
            found += zip((receivers + offset).tolist(), (senders + offset).tolist(), *shifts.T.tolist(), strict=True)
    return sorted(found)


def crystal(cell: list, pbc: tuple[bool, bool, bool], n: int = 5, *, spread: float = 1.0, seed: int = 0) -> Structures:
    """Atoms at random, `spread` cells wide."""
    rng = np.random.default_rng(seed)
    positions = (rng.random((n, 3)) - 0.5) * spread @ np.array(cell)
    return Structures.build(positions, rng.integers(1, 9, n), cell=[cell], pbc=[pbc])


SKEWED = [[3.0, 0.2, 0.0], [1.4, 2.7, 0.1], [-1.1, 0.9, 2.4]]  # Å, smaller than the cutoffs below
BOUNDARIES = [tuple(bool(bits >> axis & 1) for axis in range(3)) for bits in range(8)]


@given(batch=structures(max_atoms=5), cutoff=st.floats(0.5, 7.0))
def test_edges_are_those_of_ase(batch: Structures, cutoff: float) -> None:
    assert edges(radius_graph(batch, cutoff)) == edges_by_ase(batch, cutoff)


@pytest.mark.parametrize("pbc", BOUNDARIES)
@pytest.mark.parametrize("cutoff", [1.5, 4.1, 9.0])
def test_skewed_cells_smaller_than_the_cutoff_give_the_edges_of_ase(pbc: tuple, cutoff: float) -> None:
    batch = crystal(SKEWED, pbc)
    assert edges(radius_graph(batch, cutoff)) == edges_by_ase(batch, cutoff)


@pytest.mark.parametrize("pbc", BOUNDARIES)
def test_atoms_far_outside_the_cell_give_the_edges_of_ase(pbc: tuple) -> None:
    batch = crystal(SKEWED, pbc, spread=9.0)
    assert edges(radius_graph(batch, 4.1)) == edges_by_ase(batch, 4.1)


@pytest.mark.parametrize("pbc", BOUNDARIES)
def test_directions_without_period_need_no_cell_vector(pbc: tuple) -> None:
    cell = [row if periodic else [0.0, 0.0, 0.0] for row, periodic in zip(SKEWED, pbc, strict=True)]
    filled = Atoms("H", cell=cell, pbc=pbc)
    batch = crystal(SKEWED, pbc).replace(cell=torch.tensor([cell], dtype=torch.float64))
    filled.cell = filled.cell.complete()
    reference = batch.replace(cell=torch.from_numpy(filled.cell.array)[None])
    assert edges(radius_graph(batch, 4.1)) == edges_by_ase(reference, 4.1)


def test_more_atoms_than_a_search_by_pairs_takes_give_the_edges_of_ase() -> None:
    batch = crystal([[30.0, 0, 0], [9.0, 28.0, 0], [0, -7.0, 31.0]], (True, False, True), n=1500, spread=2.0)
    assert edges(radius_graph(batch, 3.0)) == edges_by_ase(batch, 3.0)


def edges_by_images(batch: Structures, cutoff: float, most: int) -> list[tuple[int, ...]]:
    """Every atom against every atom, in `most` cells either way of where their fractional coordinates say."""
    cell, positions = batch.cell[0].numpy(), batch.positions.numpy()
    pbc = batch.pbc[0].numpy()
    home = np.zeros(positions.shape, dtype=np.int64)
    if pbc.any():
        home[:, pbc] = np.floor(positions @ np.linalg.pinv(cell[pbc]))
    ranges = [range(-most, most + 1) if periodic else (0,) for periodic in pbc]
    found = []
    for step in itertools.product(*ranges):
        shifts = np.array(step) + home[:, None] - home[None]  # [receiver, sender, 3]
        lengths = np.linalg.norm(positions[None] - positions[:, None] + shifts @ cell, axis=-1)
        found += [
            (int(i), int(j), *shifts[i, j].tolist()) for i, j in np.argwhere(lengths < cutoff) if i != j or any(step)
        ]
    return sorted(found)


@pytest.mark.parametrize("far", [3e2, 1e3, 3e5, 1e9, 1e30, 1e150, 1e308])
@pytest.mark.parametrize("directions", [(1, 0, 0), (0, 0, -1), (1, 1, 0), (0, 1, 1), (1, -1, 1)])
def test_atoms_far_apart_in_vacuum_have_the_edges_of_all_pairs(far: float, directions: tuple) -> None:
    near = np.random.default_rng(0).random((20, 3)) * 6
    lost = np.array(directions) * far
    batch = Structures.build(np.concatenate((near, [lost, 0.9 * lost, -lost, lost])), [1] * 24)
    graph = radius_graph(batch, 3.0)
    with np.errstate(over="ignore"):
        assert edges(graph) == edges_by_images(batch, 3.0, 0)
    assert (20, 23, 0, 0, 0) in edges(graph)


@pytest.mark.parametrize("pbc", BOUNDARIES[1:])
@pytest.mark.parametrize(
    ("lengths", "most"),
    [((1000.0, 1000.0, 2.0), 2), ((2.0, 1000.0, 1500.0), 2), ((1e6, 2.0, 2.5), 2), ((2e3, 3.0, 3e3), 2)],
)
def test_sheets_slabs_and_needles_have_the_edges_of_all_images(pbc: tuple, lengths: tuple, most: int) -> None:
    rng = np.random.default_rng(1)
    corners = rng.integers(0, 2, (12, 3)) * np.array(lengths)  # pairs across the faces
    batch = crystal(np.diag(lengths).tolist(), pbc, n=12, spread=1.0)
    batch = batch.replace(positions=torch.cat((torch.from_numpy(corners + rng.normal(size=(12, 3))), batch.positions)))
    batch = Structures.build(batch.positions, [1] * 24, cell=batch.cell, pbc=batch.pbc)
    assert edges(radius_graph(batch, 3.0)) == edges_by_images(batch, 3.0, most + 1)


@pytest.mark.parametrize("pbc", BOUNDARIES[1:])
def test_tilted_sheets_have_the_edges_of_sheets(pbc: tuple) -> None:
    rng = np.random.default_rng(2)
    lengths = np.array([700.0, 2.2, 900.0])
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    positions = rng.integers(0, 2, (16, 3)) * lengths + rng.normal(size=(16, 3))
    upright = Structures.build(positions, [1] * 16, cell=np.diag(lengths)[None], pbc=[pbc])
    tilted = Structures.build(positions @ turn, [1] * 16, cell=(np.diag(lengths) @ turn)[None], pbc=[pbc])
    assert edges(radius_graph(tilted, 3.0)) == edges(radius_graph(upright, 3.0)) == edges_by_images(upright, 3.0, 3)


def test_a_very_skewed_cell_has_as_many_edges_as_its_upright_twin() -> None:
    upright = crystal([[2.0, 0, 0], [0, 2.0, 0], [0, 0, 2.5]], (True, True, True))
    skewed = upright.replace(cell=torch.tensor([[[2.0, 0, 0], [0, 2.0, 0], [4000.0, 6000.0, 2.5]]]).double())
    graph, twin = radius_graph(skewed, 4.0), radius_graph(upright, 4.0)
    assert len(graph.senders) == len(twin.senders)
    assert torch.allclose(graph.lengths.sort().values, twin.lengths.sort().values, atol=1e-9)


def test_a_cutoff_of_many_cells_has_the_edges_of_all_images() -> None:
    batch = crystal([[1.0, 0, 0], [0, 3000.0, 0], [0, 0, 3500.0]], (True, True, True), n=2)
    assert edges(radius_graph(batch, 12.0)) == edges_by_images(batch, 12.0, 14)


@pytest.mark.parametrize("pbc", [(True, True, True), (True, False, True)])
def test_an_atom_that_left_its_periodic_box_at_great_speed_is_found_at_its_image(pbc: tuple) -> None:
    batch = crystal([[8.0, 0, 0], [0, 8.0, 0], [0, 0, 8.0]], pbc, n=20)
    moved = batch.positions.clone()
    moved[0, 0] += 8.0 * 2**32
    moved[1, 2] -= 8.0 * 2**34
    graph, still = radius_graph(batch.replace(positions=moved), 3.0), radius_graph(batch, 3.0)
    assert torch.equal(graph.senders, still.senders)
    assert torch.allclose(graph.vectors, still.vectors, atol=1e-4)


def test_a_spread_out_structure_takes_little_memory_and_time() -> None:
    rng = np.random.default_rng(3)
    positions = np.concatenate((rng.random((2000, 3)) * 40, rng.normal(size=(2000, 3)) * 1e7))
    graph = radius_graph(Structures.build(positions, [1] * 4000), 4.0)
    assert torch.equal(graph.senders, radius_graph(Structures.build(positions[:2000], [1] * 2000), 4.0).senders)


def test_an_atom_too_far_away_for_its_place_in_the_cell_is_refused_by_name() -> None:
    batch = crystal([[8.0, 0, 0], [0, 8.0, 0], [0, 0, 8.0]], (True, True, True))
    moved = batch.positions.clone()
    moved[3, 1] = 1e20
    with pytest.raises(StructureError, match=r"1e\+20 Å from the origin.*structure 0, atom 3"):
        radius_graph(batch.replace(positions=moved), 3.0)


def test_a_collapsed_cell_is_refused_before_memory_is_gone() -> None:
    batch = crystal([[1e-3, 0, 0], [0, 1e-3, 0], [0, 0, 1e-3]], (True, True, True))
    with pytest.raises(StructureError, match="periodic images of its atoms are within the cutoff"):
        radius_graph(batch, 5.0)


@given(batch=structures(max_atoms=5), cutoff=st.floats(0.5, 7.0))
def test_vectors_point_from_receiver_to_the_image_of_the_sender(batch: Structures, cutoff: float) -> None:
    graph = radius_graph(batch, cutoff)
    cells = batch.cell[batch.batch[graph.senders]]
    images = batch.positions[graph.senders] + (graph.cell_shifts[:, :, None].to(cells.dtype) * cells).sum(1)
    assert torch.allclose(graph.vectors, images - batch.positions[graph.receivers], atol=ROUNDING, rtol=0)
    assert torch.allclose(graph.lengths, graph.vectors.norm(dim=-1), atol=1e-9, rtol=0)
    assert (graph.lengths < cutoff + ROUNDING).all()


@given(batch=structures(max_atoms=5), cutoff=st.one_of(st.none(), st.floats(0.5, 7.0)))
def test_reverse_finds_the_same_edge_from_the_other_end(batch: Structures, cutoff: float | None) -> None:
    graph = complete_graph(batch) if cutoff is None else radius_graph(batch, cutoff)
    back = graph.reverse
    assert torch.equal(graph.senders[back], graph.receivers)
    assert torch.equal(graph.receivers[back], graph.senders)
    assert torch.equal(graph.cell_shifts[back], -graph.cell_shifts)
    assert torch.allclose(graph.vectors[back], -graph.vectors, atol=ROUNDING, rtol=0)
    assert torch.equal(back[back], torch.arange(len(back)))


@given(batch=structures(min_size=1, max_atoms=5), cutoff=st.floats(0.5, 7.0))
def test_a_batch_has_the_edges_of_its_structures(batch: Structures, cutoff: float) -> None:
    whole = edges(radius_graph(batch, cutoff))
    apart: list[tuple[int, ...]] = []
    for part, offset in zip(batch.split(), batch.offsets.tolist(), strict=True):
        apart += [(i + offset, j + offset, *shift) for i, j, *shift in edges(radius_graph(part, cutoff))]
    assert whole == apart


@pytest.mark.parametrize("far", [0, 1_000_000, 10_000_000])
def test_edges_are_sorted_by_receiver_sender_and_shift_however_far_atoms_have_drifted(far: int) -> None:
    batch = crystal([[3.0, 0, 0], [0, 3.0, 0], [0, 0, 3.0]], (True, True, True))
    moved = batch.positions.clone()
    moved[0] += 3.0 * far
    graph = radius_graph(batch.replace(positions=moved), 4.0)
    assert edges(graph) == sorted(set(edges(graph)))
    assert len(graph.senders) == len(radius_graph(batch, 4.0).senders)


def test_a_single_atom_has_no_edges_in_vacuum_and_sees_itself_in_a_crystal() -> None:
    alone = Structures.build([[0.1, 0.2, 0.3]], [2])
    assert len(radius_graph(alone, 5.0).senders) == 0
    assert len(complete_graph(alone).senders) == 0
    cubic = alone.replace(cell=2.0 * torch.eye(3)[None], pbc=torch.ones(1, 3, dtype=torch.bool))
    graph = radius_graph(cubic, 2.1)
    assert len(graph.senders) == 6
    assert torch.allclose(graph.vectors.norm(dim=-1), torch.tensor(2.0))


def test_batches_without_atoms_or_structures_have_no_edges() -> None:
    for batch in (Structures.build([], [], n_atoms=[]), Structures.build([], [], n_atoms=[0, 0])):
        for graph in (radius_graph(batch, 5.0), complete_graph(batch)):
            assert graph.vectors.shape == (0, 3)
            assert graph.reverse.shape == (0,)


def test_coincident_atoms_are_neighbours_with_a_finite_gradient() -> None:
    positions = torch.zeros(2, 3, requires_grad=True)
    batch = Structures.build(positions, [1, 1])
    graph = radius_graph(batch, 1.0)
    assert len(graph.senders) == 2
    (gradient,) = torch.autograd.grad(graph.lengths.sum(), positions)
    assert torch.equal(gradient, torch.zeros(2, 3))


def energy(graph: Graph) -> torch.Tensor:
    """A smooth function of all lengths and directions."""
    axis = torch.tensor([0.3, -0.2, 0.7], dtype=graph.vectors.dtype)
    return (torch.exp(-graph.lengths) * (1 + (graph.vectors @ axis) ** 2)).sum()


@pytest.mark.parametrize("pbc", [(True, True, True), (True, False, True)])
def test_positions_and_strain_have_the_gradients_of_finite_differences(pbc: tuple) -> None:
    batch = crystal(SKEWED, pbc, spread=3.0)
    graph = radius_graph(batch, 4.1)

    def strained(positions: torch.Tensor, strain: torch.Tensor) -> torch.Tensor:
        deform = torch.eye(3, dtype=torch.float64) + strain
        return energy(graph.with_positions(batch.replace(positions=positions @ deform, cell=batch.cell @ deform)))

    zero = torch.zeros(3, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(strained, (batch.positions.clone().requires_grad_(), zero))


def test_the_graph_of_a_strained_cell_has_strained_vectors() -> None:
    batch = crystal(SKEWED, (True, True, True), spread=3.0)
    graph = radius_graph(batch, 4.1)
    deform = torch.eye(3, dtype=torch.float64) + 0.01 * torch.arange(9, dtype=torch.float64).reshape(3, 3)
    moved = graph.with_positions(batch.replace(positions=batch.positions @ deform, cell=batch.cell @ deform))
    assert torch.allclose(moved.vectors, graph.vectors @ deform, atol=1e-10, rtol=0)


def test_vectors_carry_gradients_to_positions_and_cell() -> None:
    batch = crystal(SKEWED, (True, True, True))
    positions, cell = batch.positions.clone().requires_grad_(), batch.cell.clone().requires_grad_()
    graph = radius_graph(batch.replace(positions=positions, cell=cell), 4.1)
    for gradient in torch.autograd.grad(energy(graph), (positions, cell)):
        assert gradient.abs().max() > 1e-3


def test_a_skin_keeps_the_edges_complete_until_an_atom_has_moved_by_half_of_it() -> None:
    batch = crystal(SKEWED, (True, True, False), n=12, spread=2.0)
    kept = radius_graph(batch, 3.0, skin=0.6)
    steps = torch.randn(batch.positions.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    moved = batch.replace(positions=batch.positions + 0.3 * steps / steps.norm(dim=1, keepdim=True))
    reused, fresh = kept.with_positions(moved), radius_graph(moved, 3.0)
    inside = reused.lengths < 3.0
    assert (~inside).any()
    assert torch.equal(reused.senders[inside], fresh.senders)
    assert torch.equal(reused.vectors[inside], fresh.vectors)


def test_single_precision_and_double_precision_have_the_same_edges() -> None:
    batch = crystal(SKEWED, (True, True, True))
    single = radius_graph(batch.to(torch.float32), 4.0)
    assert single.vectors.dtype == torch.float32
    assert edges(single) == edges(radius_graph(batch, 4.0))


@pytest.mark.parametrize(
    ("cell", "what"),
    [
        ([[3.0, 0, 0], [0, 0, 0], [0, 0, 3.0]], r"cell vector 1, which is zero \(structure 1\); give the cell"),
        ([[3.0, 0, 0], [6.0, 0, 0], [0, 0, 3.0]], r"not independent \(structure 1\)"),
    ],
)
def test_a_period_without_a_cell_vector_is_refused_by_structure(cell: list, what: str) -> None:
    fine = crystal(SKEWED, (True, True, True))
    flat = fine.replace(cell=torch.tensor([cell], dtype=torch.float64))
    with pytest.raises(StructureError, match=what):
        radius_graph(concatenate([fine, flat]), 4.0)


def test_coordinates_that_are_no_numbers_are_refused_by_atom() -> None:
    batch = crystal(SKEWED, (False, False, False))
    positions = batch.positions.clone()
    positions[3, 1] = float("nan")
    with pytest.raises(StructureError, match="structure 0, atom 3"):
        radius_graph(batch.replace(positions=positions), 4.0)


@pytest.mark.parametrize(
    ("cutoff", "skin"), [(0.0, 0.0), (-1.0, 2.0), (float("nan"), 0.0), (float("inf"), 0.0), (1.0, -1.0)]
)
def test_cutoffs_that_are_no_lengths_are_refused(cutoff: float, skin: float) -> None:
    with pytest.raises(ConfigError, match="cutoff"):
        radius_graph(crystal(SKEWED, (False, False, False)), cutoff, skin=skin)


@given(batch=structures(max_atoms=6))
def test_a_complete_graph_has_all_pairs_in_the_order_of_structure_receiver_sender(batch: Structures) -> None:
    pairs = [
        (i, j, 0, 0, 0)
        for start, n in zip(batch.offsets.tolist(), batch.n_atoms.tolist(), strict=True)
        for i in range(start, start + n)
        for j in range(start, start + n)
        if i != j
    ]
    assert edges(complete_graph(batch)) == pairs


@pytest.mark.parametrize(("n_atoms", "dense"), [([3, 3], True), ([1], True), ([2, 3], False)])
def test_a_complete_graph_is_dense_where_all_structures_are_of_one_size(n_atoms: list[int], dense: bool) -> None:
    n = sum(n_atoms)
    graph = complete_graph(Structures.build(torch.randn(n, 3), [1] * n, n_atoms=n_atoms))
    assert graph.dense is dense


def test_the_dense_view_has_a_row_per_receiver_with_the_other_atoms_in_order() -> None:
    b, n = 2, 4
    batch = Structures.build(torch.randn(b * n, 3), [1] * (b * n), n_atoms=[n] * b)
    graph = complete_graph(batch)
    vectors = graph.vectors.view(b, n, n - 1, 3)
    positions = batch.positions.view(b, n, 3)
    for i in range(n):
        others = [j for j in range(n) if j != i]
        assert torch.equal(vectors[:, i], positions[:, others] - positions[:, i, None])


def test_a_complete_graph_sees_no_periodic_images() -> None:
    batch = crystal([[1.0, 0, 0], [0, 1.0, 0], [0, 0, 1.0]], (True, True, True), n=3)
    assert len(complete_graph(batch).senders) == 6


def test_safe_norm_is_the_length_with_a_gradient_of_zero_at_zero() -> None:
    vectors = torch.tensor([[3.0, 4.0, 0.0], [0.0, 0.0, 0.0]], dtype=torch.float64, requires_grad=True)
    lengths = safe_norm(vectors)
    assert torch.allclose(lengths, torch.tensor([5.0, 0.0], dtype=torch.float64), atol=1e-8)
    (gradient,) = torch.autograd.grad(lengths.sum(), vectors)
    assert torch.equal(gradient[1], torch.zeros(3, dtype=torch.float64))


@pytest.mark.gpu
def test_graphs_on_a_gpu_are_those_on_the_cpu() -> None:
    batch = crystal(SKEWED, (True, False, True), n=20)
    for make in (complete_graph, lambda s: radius_graph(s, 4.0)):
        here, there = make(batch), make(batch.to("cuda"))
        assert there.vectors.device.type == "cuda"
        assert edges(here) == edges(there)
        assert torch.equal(here.reverse, there.reverse.cpu())
