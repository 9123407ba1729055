"""Forces, and what training on forces needs, against finite differences in float64."""

from __future__ import annotations

import pytest
import torch
from encoders.cases import ALL, PERIODIC, TWICE, Case, encoder_of, graph_of, potential_of, scalars_of
from encoders.differences import COEFFICIENTS, OFFSETS, STEP, derivative, displaced, relative_error, slopes
from encoders.geometry import crystal, molecule, octahedron
from torch import Tensor

from molgen.structures import Structures

# second derivatives lose a digit more than forces do
SECOND = 10


def forces_of(case: Case, structures: Structures) -> Tensor:
    model = potential_of(case)
    forces: Tensor = model.energy_and_forces(structures, model.graph(structures))[1]
    return forces


def expected_forces(case: Case, structures: Structures) -> Tensor:
    model = potential_of(case)
    with torch.no_grad():
        return -slopes(lambda batch: model.energy(batch, model.graph(batch)), structures)


@pytest.mark.parametrize("case", ALL, ids=str)
def test_forces_are_those_of_finite_differences(case: Case) -> None:
    structures = molecule(5, seed=3, cutoff=case.cutoff)
    assert relative_error(forces_of(case, structures), expected_forces(case, structures)) <= case.force_error


@pytest.mark.parametrize("tilt", [0.0, 1e-6], ids=["along the axes", "1e-6 rad from them"])
@pytest.mark.parametrize("case", [case for case in ALL if case.capabilities.smooth], ids=str)
def test_forces_are_right_where_edges_lie_along_the_axes(case: Case, tilt: float) -> None:
    structures = octahedron(tilt)
    assert relative_error(forces_of(case, structures), expected_forces(case, structures)) <= case.force_error


@pytest.mark.parametrize("case", PERIODIC, ids=str)
def test_forces_and_stress_are_right_in_a_cell_smaller_than_the_cutoff(case: Case) -> None:
    model, structures = potential_of(case), crystal()
    assert relative_error(forces_of(case, structures), expected_forces(case, structures)) <= case.force_error
    graph = model.graph(structures)

    def energy(strain: Tensor) -> Tensor:
        turned = torch.eye(3, dtype=torch.float64) + (strain + strain.mT) / 2
        strained = structures.replace(positions=structures.positions @ turned, cell=structures.cell @ turned)
        return model.energy(strained, graph)[0]

    strain = torch.zeros(3, 3, dtype=torch.float64, requires_grad=True)
    (stress,) = torch.autograd.grad(energy(strain), strain)
    with torch.no_grad():
        expected = torch.zeros(3, 3, dtype=torch.float64)
        for i in range(3):
            for j in range(3):
                unit = torch.zeros(3, 3, dtype=torch.float64).index_put((torch.tensor(i), torch.tensor(j)), one())
                expected[i, j] = derivative(torch.stack([energy(STEP * k * unit) for k in OFFSETS]))
    assert relative_error(stress, expected) <= case.force_error


@pytest.mark.parametrize("along_axes", [False, True], ids=["anywhere", "along the axes"])
@pytest.mark.parametrize("case", TWICE, ids=str)
def test_all_features_have_right_second_derivatives(case: Case, along_axes: bool) -> None:
    if along_axes and not case.capabilities.smooth:
        pytest.skip("it is not smooth there")
    structures = octahedron() if along_axes else molecule(5, seed=3, cutoff=case.cutoff)
    n = len(structures.positions)
    generator = torch.Generator().manual_seed(4)
    weights = torch.randn(n, encoder_of(case).irreps_out.dim, dtype=torch.float64, generator=generator)
    direction = torch.randn(n, 3, dtype=torch.float64, generator=generator)
    direction = direction / direction.norm(dim=1).max()

    def slope(batch: Structures, create_graph: bool = False) -> tuple[Tensor, Tensor]:
        x = batch.positions.clone().requires_grad_()
        copies = len(x) // n
        graph = graph_of(case, batch).with_positions(batch.replace(positions=x))
        nodes = encoder_of(case)(graph, scalars_of(n).repeat(copies, 1)).nodes
        curved = (nodes * weights.repeat(copies, 1)).sin().sum()
        return torch.autograd.grad(curved, x, create_graph=create_graph)[0], x

    first, x = slope(structures, create_graph=True)
    (found,) = torch.autograd.grad(first, x, direction)
    expected = derivative(slope(displaced(structures, direction))[0].reshape(8, n, 3))
    assert relative_error(found, expected) <= SECOND * case.force_error


@pytest.mark.parametrize("case", TWICE, ids=str)
def test_the_loss_of_forces_has_right_derivatives_by_the_weights(case: Case) -> None:
    model, structures = potential_of(case), molecule(4, 3, seed=3, cutoff=case.cutoff)
    graph = model.graph(structures)
    generator = torch.Generator().manual_seed(5)
    weights = [p for p in model.parameters() if p.requires_grad]
    directions = [torch.randn(p.shape, dtype=torch.float64, generator=generator) for p in weights]

    def loss(create_graph: bool) -> Tensor:
        energy, forces = model.energy_and_forces(structures, graph, create_graph=create_graph)
        return energy.square().sum() + forces.square().sum()

    found = torch.autograd.grad(loss(create_graph=True), weights, allow_unused=True)
    along = sum((g * d).sum() for g, d in zip(found, directions, strict=True) if g is not None)
    values, before = [], [p.detach().clone() for p in weights]
    try:
        for offset in OFFSETS:
            for p, start, d in zip(weights, before, directions, strict=True):
                p.data = start + STEP * offset * d
            values.append(loss(create_graph=False).detach())
    finally:
        for p, start in zip(weights, before, strict=True):
            p.data = start
    expected = derivative(torch.stack(values), STEP)
    assert relative_error(torch.as_tensor(along), expected) <= SECOND * case.force_error


@pytest.mark.parametrize("case", ALL, ids=str)
def test_atoms_in_one_place_have_finite_energies_and_forces(case: Case) -> None:
    model = potential_of(case)
    apart = molecule(4, seed=1)
    for same in ([0, 0, 0], [0, 0, 1], [0, 1, 2, 3, 3]):
        structures = Structures.build(apart.positions[same], apart.species[same])
        energy, forces = model.energy_and_forces(structures, model.graph(structures))
        assert torch.isfinite(energy).all()
        assert torch.isfinite(forces).all()


def one() -> Tensor:
    return torch.ones((), dtype=torch.float64)


def test_the_differences_of_these_tests_are_right_to_twelve_digits() -> None:
    x = torch.tensor(0.7, dtype=torch.float64)
    found = derivative(torch.exp(3 * (x + STEP * OFFSETS)))
    assert abs(float(found / (3 * torch.exp(3 * x))) - 1) < 1e-11
    assert float((COEFFICIENTS * OFFSETS).sum()) == pytest.approx(1.0, abs=1e-15)
