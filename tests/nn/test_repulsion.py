"""Screened nuclear repulsion against its formula, and where it ends."""

from __future__ import annotations

import math

import pytest
import torch
from ase.data import covalent_radii

from molgen.nn import ScreenedRepulsion

PHI = ((0.18175, 3.19980), (0.50986, 0.94229), (0.28022, 0.40290), (0.02817, 0.20162))


def reference(r: float, one: int, two: int, reach: float) -> float:
    """The formula term by term, with the smooth step of fifth order down from 1."""
    length = 0.8854 * 0.529177210903 / (one**0.23 + two**0.23)
    screening = sum(weight * math.exp(-rate * r / length) for weight, rate in PHI)
    x = r / (reach * float(covalent_radii[one] + covalent_radii[two]))
    step = x**6 * (462 - 1980 * x + 3465 * x**2 - 3080 * x**3 + 1386 * x**4 - 252 * x**5)
    envelope = 1 - step if x < 1 else 0.0
    return 14.3996454784936 * one * two / r * screening * envelope


@pytest.mark.parametrize("pair", [(1, 1), (1, 6), (8, 8), (6, 92)])
@pytest.mark.parametrize("r", [0.05, 0.4, 0.6, 1.2, 5.5])
@pytest.mark.parametrize("reach", [1.0, 1.25])
def test_a_pair_has_the_energy_of_the_formula(pair, r, reach):
    repulsion = ScreenedRepulsion([1, 6, 8, 92], reach)
    found = repulsion(torch.tensor([r], dtype=torch.float64), torch.tensor([pair[0]]), torch.tensor([pair[1]]))
    assert float(found) == pytest.approx(reference(r, *pair, reach), rel=1e-5, abs=1e-12)


def test_it_ends_with_five_derivatives_past_a_bond():
    repulsion = ScreenedRepulsion([6])
    end = 2.5 * float(covalent_radii[6])
    assert repulsion.reach == pytest.approx(end)
    r = torch.tensor([end - 1e-4], dtype=torch.float64, requires_grad=True)
    found = repulsion(r, torch.tensor([6]), torch.tensor([6]))
    inside = repulsion(r.detach() - 0.5 * end, torch.tensor([6]), torch.tensor([6]))
    for order in range(6):
        # the n-th derivative falls as the distance from the end to the power of 6 − n
        assert abs(float(found.detach())) < 1e6 * (1e-4) ** (6 - order) * float(inside)
        (found,) = torch.autograd.grad(found.sum(), r, create_graph=True)
    assert float(repulsion(torch.tensor([end]), torch.tensor([6]), torch.tensor([6]))) == 0


def test_coincident_atoms_have_a_finite_energy_and_no_force():
    repulsion = ScreenedRepulsion([1])
    r = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    energy = repulsion(r, torch.tensor([1]), torch.tensor([1]))
    (slope,) = torch.autograd.grad(energy.sum(), r)
    assert torch.isfinite(energy).all()
    assert torch.isfinite(slope).all()
