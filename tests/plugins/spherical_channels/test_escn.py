"""eSCN: exactly equivariant, and smooth in every direction, the poles of its frames among them."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from molgen.structures import Structures

EXACT = 1e-10  # relative, float64: rounding of some thousand operations
FORCES = 1e-8  # relative: derivatives against central differences of fourth order
ROTATIONS = st.integers(0, 500).map(lambda seed: 2 * seed)
REFLECTIONS = st.integers(0, 500).map(lambda seed: 2 * seed + 1)


def energy(features: Tensor) -> Tensor:
    """A function of every component."""
    weights = torch.linspace(-1, 1, features.shape[1], dtype=features.dtype)
    return (features.sin() * weights).sum()


@settings(max_examples=12)
@given(
    seed=st.one_of(ROTATIONS, REFLECTIONS),
    counts=st.sampled_from([(5,), (4, 4), (3, 6, 1)]),
    cutoff=st.sampled_from([None, 3.0]),
    degrees=st.sampled_from([(1, 1), (2, 2), (4, 1), (3, 0)]),
)
def test_rotations_reflections_and_translations_turn_its_features(
    seed: int, counts: tuple[int, ...], cutoff: float | None, degrees: tuple[int, int], make: Callable,
    evaluate: Callable, points: Callable, orthogonal: Callable, turn_features: Callable,
) -> None:  # fmt: skip
    encoder, x, q = (
        make("escn", cutoff=cutoff, l_max=degrees[0], m_max=degrees[1]),
        points(sum(counts)),
        orthogonal(seed),
    )
    expected = turn_features(encoder, evaluate(encoder, x, n_atoms=counts), q)
    found = evaluate(encoder, x @ q.T + 7.0, n_atoms=counts)
    assert (found - expected).abs().max() <= EXACT * expected.abs().max()


@settings(max_examples=6)
@given(seed=ROTATIONS, cutoff=st.sampled_from([None, 3.0]))
def test_complex_products_are_equivariant_under_rotations(
    seed: int, cutoff: float | None, make: Callable, evaluate: Callable, points: Callable, orthogonal: Callable,
    turn_features: Callable,
) -> None:  # fmt: skip
    encoder, x, q = make("escn", cutoff=cutoff, reflections=False), points(6, seed), orthogonal(seed)
    expected = turn_features(encoder, evaluate(encoder, x), q)
    assert (evaluate(encoder, x @ q.T) - expected).abs().max() <= EXACT * expected.abs().max()


def test_only_complex_products_tell_mirror_images_apart(make: Callable, evaluate: Callable, points: Callable) -> None:
    x, mirror = points(6), torch.tensor([1.0, 1.0, -1.0], dtype=torch.float64)

    def difference(reflections: bool) -> float:
        encoder = make("escn", reflections=reflections)
        invariants = [evaluate(encoder, each)[:, :6] for each in (x, x * mirror)]
        return float((invariants[0] - invariants[1]).abs().max().detach())

    assert difference(True) < EXACT
    assert difference(False) > 1e-4


@pytest.mark.parametrize("pole", [1.0, -1.0])
@pytest.mark.parametrize("tilt", [0.0, 1e-12, 1e-6, 1e-3])
@pytest.mark.parametrize("reflections", [True, False])
def test_forces_are_exact_along_the_polar_axis(
    pole: float, tilt: float, reflections: bool, make: Callable, evaluate: Callable
) -> None:
    encoder = make("escn", cutoff=4.0, l_max=3, reflections=reflections)
    # the first and the second atom lie along the axis, seen from each other
    s, c = math.sin(tilt), pole * math.cos(tilt)
    x = torch.tensor([[0, 0, 0], [1.2 * s, 1.2 * c, 0], [0.9, 0.3, 0.5], [0.2, -0.4, 1.1]], dtype=torch.float64)
    x = x.requires_grad_()
    (gradient,) = torch.autograd.grad(energy(evaluate(encoder, x)), x)
    numerical = torch.zeros_like(gradient)
    with torch.no_grad():
        for place in range(x.numel()):
            numerical.view(-1)[place] = derivative(lambda d, p=place: energy(evaluate(encoder, shifted(x, p, d))))
    assert (gradient - numerical).abs().max() <= FORCES * gradient.abs().max()


def derivative(f: Callable[[float], Tensor], step: float = 1e-3) -> Tensor:
    """Central differences of sixth order."""
    weights = {1: 45.0, 2: -9.0, 3: 1.0}
    return sum(w * (f(k * step) - f(-k * step)) for k, w in weights.items()) / (60 * step)


def shifted(x: Tensor, place: int, step: float) -> Tensor:
    moved = x.detach().clone()
    moved.view(-1)[place] += step
    return moved


@pytest.mark.parametrize("pole", [1.0, -1.0])
def test_features_and_second_derivatives_are_continuous_through_the_poles(
    pole: float, make: Callable, evaluate: Callable
) -> None:
    encoder = make("escn")

    def found(dx: float, dz: float) -> list[Tensor]:
        x = torch.tensor([[0, 0, 0], [dx, pole, dz], [0.9, 0.3, 0.5]], dtype=torch.float64, requires_grad=True)
        features = evaluate(encoder, x)
        (force,) = torch.autograd.grad(energy(features), x, create_graph=True)
        (second,) = torch.autograd.grad(force.sin().sum(), x)
        return [features.detach(), force.detach(), second]

    centre, step = found(0.0, 0.0), 1e-6
    for angle in (0.3, 1.7, 2.9, 4.4):
        around = found(step * math.cos(angle), step * math.sin(angle))
        for near, at in zip(around, centre, strict=True):
            assert (near - at).abs().max() < 100 * step * at.abs().max()


def test_frames_change_charts_without_a_trace(make: Callable, evaluate: Callable) -> None:
    # frames are chosen on two charts, which meet where the edge is level
    encoder = make("escn", reflections=False)

    def found(y: float) -> Tensor:
        x = torch.tensor([[0, 0, 0], [1.0, y, 0.4], [0.9, 1.3, -0.5]], dtype=torch.float64)
        return evaluate(encoder, x)

    assert (found(1e-13) - found(-1e-13)).abs().max() < 1e-11


def test_atoms_at_one_place_turn_with_the_rest(
    make: Callable, evaluate: Callable, points: Callable, orthogonal: Callable, turn_features: Callable
) -> None:
    encoder, q = make("escn"), orthogonal(4)
    x = torch.cat((points(3), points(1)))  # the last lies upon the first
    expected = turn_features(encoder, evaluate(encoder, x), q)
    assert (evaluate(encoder, x @ q.T) - expected).abs().max() <= EXACT * expected.abs().max()


def test_a_strained_cell_has_the_stress_of_its_energy(make: Callable, graph_of: Callable, points: Callable) -> None:
    encoder = make("escn", cutoff=3.0)
    cell = torch.tensor([[3.2, 0.0, 0.0], [0.4, 3.1, 0.0], [0.0, 0.3, 3.4]], dtype=torch.float64)
    structures = Structures.build(points(3), [6] * 3, cell=cell[None], pbc=[[True] * 3])
    graph, scalars = graph_of(encoder, structures), torch.ones(3, 3, dtype=torch.float64)

    def strained(strain: Tensor) -> Tensor:
        deform = torch.eye(3, dtype=torch.float64) + strain
        moved = structures.replace(positions=structures.positions @ deform, cell=structures.cell @ deform)
        return energy(encoder(graph.with_positions(moved), scalars).nodes[:, :6])

    strain = torch.zeros(3, 3, dtype=torch.float64, requires_grad=True)
    (stress,) = torch.autograd.grad(strained(strain), strain)
    assert torch.autograd.gradcheck(strained, strain)
    # no torque acts on a crystal as a whole: turning it costs nothing
    assert (stress - stress.T).abs().max() <= 1e-10 * stress.abs().max()
