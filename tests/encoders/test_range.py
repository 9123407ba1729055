"""How far atoms see: locality, smooth cutoffs, extensivity, periodic images, and structures of 1 to 1 000 atoms."""

from __future__ import annotations

import itertools

import pytest
import torch
from encoders.cases import (
    ALL,
    CUTOFF,
    ELEMENTS,
    FIRST_LOCAL,
    LOCAL,
    PERIODIC,
    Case,
    encoder_of,
    features_of,
    graph_of,
    potential_of,
    scalars_of,
)
from encoders.energy import build_energy_model
from encoders.geometry import crystal, molecule, structures_of
from torch import Tensor

from molgen.neighbors import radius_graph
from molgen.structures import Structures

EXACT = 1e-11  # relative, float64: sums in another order

# no axis, and far from the polar one, where an encoder may not be smooth
ALONG = torch.tensor([0.8, -0.36, 0.48], dtype=torch.float64)


def energy_and_forces(case: Case, structures: Structures) -> tuple[Tensor, Tensor]:
    model = potential_of(case)
    energy, forces = model.energy_and_forces(structures, model.graph(structures))
    return energy.detach(), forces


def close(found: Tensor, expected: Tensor) -> bool:
    return bool((found - expected).abs().max() <= EXACT * expected.abs().max().clamp(min=1e-3))


@pytest.mark.parametrize("case", [case for case in LOCAL if "layers" in case.config], ids=str)
def test_an_atom_sees_as_many_cutoffs_far_as_there_are_layers_and_no_further(case: Case) -> None:
    layers = case.config["layers"]
    places = 0.8 * CUTOFF * torch.arange(layers + 2, dtype=torch.float64)
    chain, scalars = places[:, None] * ALONG, scalars_of(layers + 2)
    before = features_of(case, structures_of(chain), scalars).nodes[0]

    def moved(atom: int) -> Tensor:
        shift = torch.zeros_like(chain)
        shift[atom] = torch.tensor([0.1, 0.1, -0.2])
        return features_of(case, structures_of(chain + shift), scalars).nodes[0]

    assert torch.equal(moved(layers + 1), before)
    assert (moved(layers) - before).abs().max() > 1e-9 * before.abs().max()


@pytest.mark.parametrize("case", LOCAL, ids=str)
def test_energy_force_and_its_slope_go_smoothly_through_the_cutoff(case: Case) -> None:
    model = potential_of(case)
    near = torch.tensor([[0.0, 0.0, 0.0], [1.0, 0.3, 0.4]], dtype=torch.float64)

    def orders(distance: float, others: int) -> list[float]:
        r = torch.tensor(distance, dtype=torch.float64, requires_grad=True)
        x = torch.cat((near[:others], (r * ALONG)[None]))
        structures = structures_of(x.detach())
        energy = model.energy(structures.replace(positions=x), model.graph(structures))
        (force,) = torch.autograd.grad(energy.sum(), r, create_graph=True)
        (slope,) = torch.autograd.grad(force, r) if force.requires_grad else (torch.zeros(()),)
        return [float(each.detach()) for each in (energy, force, slope)]

    step = 1e-7
    inside, outside = orders(CUTOFF - step, others=2), orders(CUTOFF + step, others=2)
    change = [b - a for a, b in zip(inside, outside, strict=True)]
    mean = [a + change / 2 for a, change in zip(inside, change, strict=True)]
    scale = max(1.0, *(abs(value) for value in inside))
    # each changes by its derivative times the step; that of the last is finite
    assert abs(change[0] - 2 * step * mean[1]) <= 1e-12 * scale
    assert abs(change[1] - 2 * step * mean[2]) <= 1e-11 * scale
    assert abs(change[2]) <= 1e-4 * scale
    # a pair alone: nothing beyond, something within
    assert orders(CUTOFF + step, others=1)[1:] == [0.0, 0.0]
    assert abs(orders(CUTOFF - 0.5, others=1)[1]) > 1e-6


@pytest.mark.parametrize("case", LOCAL, ids=str)
def test_a_scan_through_the_cutoff_has_no_step(case: Case) -> None:
    distances = CUTOFF + 1e-3 * torch.arange(-20, 21, dtype=torch.float64)
    near = torch.tensor([[0.0, 0.0, 0.0], [1.0, 0.3, 0.4]], dtype=torch.float64)
    x = torch.cat([torch.cat((near, (r * ALONG)[None])) for r in distances])
    energy, forces = energy_and_forces(case, structures_of(x, [3] * 41))
    for values in (energy[:, None], forces.reshape(41, 9)):
        steps = values.diff(dim=0).abs().max(1).values  # [40]
        # where it is smooth, a step is like its neighbours
        assert steps[19:21].max() <= 1.5 * steps[[17, 18, 21, 22]].max()


@pytest.mark.parametrize("case", LOCAL, ids=str)
def test_two_far_copies_have_twice_the_energy_and_the_same_forces(case: Case) -> None:
    single = molecule(5, seed=2)
    far = single.positions + torch.tensor([60.0, -50.0, 40.0])
    both = Structures.build(torch.cat((single.positions, far)), torch.cat((single.species, single.species)))
    energy, forces = energy_and_forces(case, single)
    energies, all_forces = energy_and_forces(case, both)
    assert close(energies, 2 * energy)
    assert close(all_forces, torch.cat((forces, forces)))


@pytest.mark.parametrize("case", ALL, ids=str)
def test_one_atom_has_an_energy_and_no_force(case: Case) -> None:
    energy, forces = energy_and_forces(case, molecule(1))
    assert torch.isfinite(energy).all()
    assert not forces.any()
    energies, forces = energy_and_forces(case, molecule(1, 1, 3))
    assert close(energies[:1], energy)
    assert not forces[:2].any()


@pytest.mark.parametrize("counts", [(), (0,), (0, 0), (0, 1, 3)], ids=str)
@pytest.mark.parametrize("case", ALL, ids=str)
def test_structures_without_atoms_pass_and_change_nothing(case: Case, counts: tuple[int, ...]) -> None:
    filled = molecule(*[n for n in counts if n]) if any(counts) else structures_of(torch.zeros(0, 3).double(), [])
    batch = Structures.build(filled.positions, filled.species, n_atoms=list(counts))
    x, scalars = batch.positions.clone().requires_grad_(), scalars_of(sum(counts))
    features = encoder_of(case)(graph_of(case, batch.replace(positions=x)), scalars)
    assert features.nodes.shape == (sum(counts), encoder_of(case).irreps_out.dim)
    assert torch.isfinite(features.nodes).all()
    (slope,) = torch.autograd.grad(features.nodes.sum(), x, allow_unused=True)
    assert slope is None or torch.isfinite(slope).all()
    if any(counts):
        assert close(features.nodes, features_of(case, filled, scalars).nodes)


@pytest.mark.parametrize("case", LOCAL, ids=str)
def test_edges_of_a_skin_give_nothing(case: Case) -> None:
    assert case.cutoff is not None
    structures, scalars = molecule(6, 4, cutoff=case.cutoff), scalars_of(10)
    graph = radius_graph(structures, case.cutoff, skin=1.5)
    assert (graph.lengths > case.cutoff).any()
    found = encoder_of(case)(graph, scalars).nodes
    assert close(found, features_of(case, structures, scalars).nodes)


@pytest.mark.parametrize("case", ALL, ids=str)
def test_two_atoms_push_each_other_alike_along_the_line_between_them(case: Case) -> None:
    x = torch.stack((0 * ALONG, 1.2 * ALONG))
    energy, forces = energy_and_forces(case, structures_of(x))
    assert torch.isfinite(energy).all()
    assert forces.abs().max() > 1e-6
    assert close(forces[0], -forces[1])
    if case.exact and case.turned_error is not None:
        across = forces - (forces @ ALONG)[:, None] * ALONG
        assert across.abs().max() <= case.turned_error * forces.abs().max()
    far = energy_and_forces(case, structures_of(20 * x))
    assert torch.isfinite(far[0]).all()
    assert case.cutoff is None or not far[1].any()


@pytest.mark.parametrize("case", FIRST_LOCAL, ids=str)
def test_a_thousand_atoms_have_finite_forces_that_sum_to_zero(case: Case) -> None:
    torch.manual_seed(0)
    places = torch.cartesian_prod(*[torch.arange(10.0)] * 3) * 2.1
    structures = structures_of(places + 0.2 * torch.randn(1000, 3))
    model = build_energy_model(case.use, case.config, elements=ELEMENTS, average_neighbors=15.0)
    energy, forces = model.energy_and_forces(structures, model.graph(structures))
    assert torch.isfinite(energy).all()
    assert (forces.abs().max(1).values > 0).all()
    assert (forces.sum(0).abs() <= 1e-5 * forces.abs().sum(0)).all()


@pytest.mark.parametrize("case", PERIODIC, ids=str)
def test_a_doubled_cell_has_twice_the_energy_and_the_same_forces(case: Case) -> None:
    single = crystal()
    energy, forces = energy_and_forces(case, single)
    for copies in ((2, 1, 1), (2, 2, 2)):
        shifts = torch.tensor(list(itertools.product(*map(range, copies))), dtype=torch.float64) @ single.cell[0]
        n = len(shifts)
        positions = (shifts[:, None] + single.positions).reshape(-1, 3)
        cell = single.cell * torch.tensor(copies)[:, None]
        larger = Structures.build(positions, single.species.repeat(n), cell=cell, pbc=single.pbc)
        energies, all_forces = energy_and_forces(case, larger)
        assert close(energies, n * energy)
        assert close(all_forces, forces.repeat(n, 1))


@pytest.mark.parametrize("case", PERIODIC, ids=str)
def test_atoms_may_stand_in_any_image_of_the_cell(case: Case) -> None:
    single = crystal()
    energy, forces = energy_and_forces(case, single)
    images = torch.tensor([[1, 0, -2], [0, 3, 0], [-1, -1, 4]], dtype=torch.float64)
    elsewhere = energy_and_forces(case, single.replace(positions=single.positions + images @ single.cell[0]))
    assert close(elsewhere[0], energy)
    assert close(elsewhere[1], forces)


@pytest.mark.parametrize("case", PERIODIC, ids=str)
def test_a_slab_is_that_of_a_cell_with_vacuum(case: Case) -> None:
    single = crystal()
    pbc = torch.tensor([[True, True, False]])
    tall = single.cell.clone()
    tall[:, 2] *= 10
    slab = energy_and_forces(case, single.replace(pbc=pbc))
    vacuum = energy_and_forces(case, single.replace(cell=tall))
    assert close(slab[0], vacuum[0])
    assert close(slab[1], vacuum[1])
