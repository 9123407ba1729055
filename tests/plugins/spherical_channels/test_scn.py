"""SCN: equivariance that taps and grid points restore, and one direction in which it can't be continuous."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from molgen_spherical_channels.frames import roll_matrices
from torch import Tensor

EXACT = 1e-12
FORCES = 1e-6  # relative, away from the pole


def energy(features: Tensor) -> Tensor:
    """A function of the scalars."""
    return features[:, :6].sin().sum()


@pytest.fixture(scope="module")
def error(make: Callable, evaluate: Callable, points: Callable, orthogonal: Callable, turn_features: Callable):
    """Relative error of the features under rotations."""

    def measured(**options: object) -> float:
        encoder, x = make("scn", **options), points(6)
        before = evaluate(encoder, x).detach()
        errors = []
        for q in (orthogonal(2), orthogonal(4)):
            errors.append(evaluate(encoder, x @ q.T).detach() - turn_features(encoder, before, q))
        return float(torch.stack(errors).square().mean().sqrt() / before.square().mean().sqrt())

    return measured


def test_equivariance_comes_with_taps_and_grid_points(error: Callable) -> None:
    coarse, fine, finer = (error(taps=taps, grid_degree=24) for taps in (1, 4, 12))
    assert coarse > 1e-2
    assert fine < 0.2 * coarse
    assert finer < 0.2 * fine
    assert error(taps=12, grid_degree=4) > 5 * error(taps=12, grid_degree=24)


def test_taps_and_points_enough_make_it_exact(error: Callable) -> None:
    assert error(taps=40, grid_degree=60, l_max=1) < 1e-10


def test_translations_change_nothing(make: Callable, evaluate: Callable, points: Callable) -> None:
    encoder, x = make("scn"), points(5)
    assert (evaluate(encoder, x) - evaluate(encoder, x + 3.0)).abs().max() < EXACT


@pytest.mark.parametrize("taps", [1, 3])
def test_taps_are_turned_frames(taps: int, make: Callable) -> None:
    encoder = make("scn", taps=taps)
    message = encoder.layers[1].message
    features = torch.randn(7, 9, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    radial = torch.rand(7, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    found = message(features.flatten(1), radial).view(7, 9, 6)
    expected = torch.zeros_like(features)
    for turn in roll_matrices(2, 2, taps):
        hidden = torch.einsum("smc,mch->sh", turn @ features, message.read) + message.bias
        hidden = torch.nn.functional.silu(torch.nn.functional.silu(hidden * radial) @ message.inner)
        expected += turn.T @ torch.einsum("sh,hmc->smc", hidden, message.write) / taps
    assert (found - expected).abs().max() < EXACT


def test_lower_precision_in_between_costs_no_digits(make: Callable, evaluate: Callable, points: Callable) -> None:
    encoder, x = make("scn", taps=3), points(5)
    turns = encoder.layers[1].message.turns.clone()
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.copy_(parameter.float())
    before = evaluate(encoder, x).detach()
    encoder.float().double()
    assert torch.equal(encoder.layers[1].message.turns, turns)
    assert (evaluate(encoder, x).detach() - before).abs().max() <= EXACT * before.abs().max()


def around_the_pole(encoder: object, evaluate: Callable, tilt: float = 1e-7) -> Tensor:
    """Energies of an edge that comes to the pole −y from each side."""
    found = []
    for angle in torch.arange(12) * (2 * math.pi / 12):
        side = tilt * torch.tensor([angle.cos(), 0.0, angle.sin()], dtype=torch.float64)
        rest = torch.tensor([[0.0, 0.0, 0.0], [0.9, 0.3, 0.5], [-0.4, 0.6, 0.8]], dtype=torch.float64)
        bond = torch.tensor([[0.0, -1.2, 0.0]], dtype=torch.float64) + side
        found.append(energy(evaluate(encoder, torch.cat((rest, bond)))))
    return torch.stack(found).detach()


def test_the_jump_at_the_pole_falls_with_taps(make: Callable, evaluate: Callable) -> None:
    jumps = []
    for taps in (1, 2, 4, 8):
        energies = around_the_pole(make("scn", taps=taps), evaluate)
        jumps.append(float(energies.max() - energies.min()))
    assert jumps[0] > 1e-4
    assert jumps[3] < 0.1 * jumps[2] < 0.01 * jumps[0]
    assert jumps[1] < jumps[0]


def test_the_other_pole_is_continuous(make: Callable, evaluate: Callable) -> None:
    encoder = make("scn", taps=1, cutoff=2.0)
    low = torch.tensor([[0.0, 0.0, 0.0], [0.0, 1.2, 0.0], [0.9, 0.3, 0.5]], dtype=torch.float64)
    energies = []
    for angle in (0.0, 1.0, 2.5):
        moved = low.clone()
        moved[1, 0], moved[1, 2] = 1e-9 * math.cos(angle), 1e-9 * math.sin(angle)
        # only the first atom listens: its edge points to +y, the one back to −y
        energies.append(first_layer_of_first_atom(encoder, moved, evaluate))
    spread = torch.stack(energies).std(0).abs().max()
    assert spread < 1e-8


def first_layer_of_first_atom(encoder: object, x: Tensor, evaluate: Callable) -> Tensor:
    seen = []
    handle = encoder.layers[0].register_forward_hook(lambda module, inputs, output: seen.append(output))
    evaluate(encoder, x)
    handle.remove()
    return seen[0][0].detach()


@pytest.mark.parametrize("tilt", [1e-4, 0.02, 0.5, 2.0])
def test_forces_are_right_away_from_the_pole(tilt: float, make: Callable, evaluate: Callable) -> None:
    encoder = make("scn", taps=2, cutoff=4.0)
    s, c = 1.2 * math.sin(tilt), -1.2 * math.cos(tilt)
    x = torch.tensor([[0, 0, 0], [s, c, 0], [0.9, 0.3, 0.5]], dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(energy(evaluate(encoder, x)), x)
    numerical = torch.zeros_like(gradient)
    step = min(1e-4, 2e-3 * tilt)
    with torch.no_grad():
        for place in range(9):
            values = []
            for k in (-2, -1, 1, 2):
                moved = x.detach().clone()
                moved.view(-1)[place] += k * step
                values.append(energy(evaluate(encoder, moved)))
            numerical.view(-1)[place] = (values[0] - 8 * values[1] + 8 * values[2] - values[3]) / (12 * step)
    assert (gradient - numerical).abs().max() <= FORCES * gradient.abs().max()


@pytest.mark.parametrize("tilt", [0.0, 1e-12, 1e-6])
def test_forces_are_finite_at_the_pole(tilt: float, make: Callable, evaluate: Callable) -> None:
    x = torch.tensor([[0, 0, 0], [tilt, -1.2, 0], [0.9, 0.3, 0.5]], dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(energy(evaluate(make("scn"), x)), x)
    assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("taps", [1, 2, 3, 4])
def test_taps_leave_only_harmonics_of_their_own_multiples(taps: int, make: Callable, evaluate: Callable) -> None:
    # at the pole the frame rolls twice as fast as the edge comes around
    energies = around_the_pole(make("scn", taps=taps), evaluate, tilt=1e-10)[:6]
    found = torch.fft.rfft(energies).abs()[1:] / len(energies)  # orders 1, 2, 3 of the roll
    for order, amplitude in enumerate(found.tolist(), start=1):
        assert (amplitude > 1e-7) == (order % taps == 0 or (6 - order) % taps == 0)
