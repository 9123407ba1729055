"""The numbers under every method: quadrature, harmonics, gradients and strengths of paths."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from e3nn import o3
from gaunt_reference import coefficient
from molgen_gaunt.form import strengths
from molgen_gaunt.harmonics import components, gradients, harmonics, legendre
from molgen_gaunt.quadrature import SYMMETRIES, Rule, gauss_legendre, sphere_rule, symmetry_class

STORED = 31  # degrees up to here have rules of their own, those beyond are of Gauss-Legendre

symmetries = pytest.mark.parametrize("symmetry", SYMMETRIES)


def orbits(rule: Rule, symmetry: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All points of a rule, each with its share of the orbit's weight."""
    theta, phi, weight = rule
    for _ in range(SYMMETRIES.index(symmetry) == 2):
        theta, phi, weight = np.tile(theta, 2), np.concatenate([phi, phi + np.pi]), np.tile(weight / 2, 2)
    if symmetry != "none":
        theta, phi = np.concatenate([theta, np.pi - theta]), np.concatenate([phi, phi + np.pi])
        weight = np.tile(weight / 2, 2)
    return theta, phi, weight


@symmetries
@pytest.mark.parametrize("degree", [*range(STORED + 1), 32, 33, 40, 47])
def test_a_rule_integrates_all_harmonics_up_to_its_degree(degree: int, symmetry: str) -> None:
    rule = sphere_rule(degree, symmetry)
    theta, phi, weight = orbits(rule, symmetry)
    assert (rule.weight > 0).all()
    integrals = harmonics(range(degree + 1), theta, phi) @ weight
    integrals[0] -= np.sqrt(4 * np.pi)
    assert abs(integrals).max() < 1e-14 * len(weight)


@pytest.mark.parametrize("degree", range(4, STORED + 1))
def test_stored_rules_have_fewer_points_than_gauss_legendre(degree: int) -> None:
    assert len(sphere_rule(degree).theta) < (degree + 2) ** 2 / 2
    counts = [len(sphere_rule(degree, symmetry).theta) for symmetry in SYMMETRIES]
    assert counts[0] == 2 * counts[1]
    assert counts[1] >= 1.5 * counts[2]


@symmetries
def test_an_orbit_changes_a_harmonic_by_the_sign_of_its_class(symmetry: str) -> None:
    lm = components(range(6))
    theta, phi = np.array([0.3, 1.1, 2.0]), np.array([0.2, -1.3, 2.9])
    values = harmonics(range(6), theta, phi)
    group = np.array([symmetry_class(*each, symmetry) for each in lm])
    assert set(group) == set(range(2 ** SYMMETRIES.index(symmetry)))
    if symmetry != "none":
        inverted = harmonics(range(6), np.pi - theta, phi + np.pi)
        np.testing.assert_allclose(inverted, np.where(group & 1, -1, 1)[:, None] * values, atol=1e-14)
    if symmetry == "inversion-half-turn":
        turned = harmonics(range(6), theta, phi + np.pi)
        np.testing.assert_allclose(turned, np.where(group & 2, -1, 1)[:, None] * values, atol=1e-14)


@pytest.mark.parametrize("degree", [0, 1, 5, 20])
def test_nodes_in_theta_integrate_polynomials_of_its_cosine(degree: int) -> None:
    theta, weight = gauss_legendre(degree)
    for power in range(degree + 1):
        expected = 2 / (power + 1) if power % 2 == 0 else 0
        assert (np.cos(theta) ** power * weight).sum() == pytest.approx(expected, abs=1e-14)


def angles(count: int) -> tuple[np.ndarray, np.ndarray, torch.Tensor]:
    rng = np.random.default_rng(0)
    theta, phi = rng.uniform(0, np.pi, count), rng.uniform(-np.pi, np.pi, count)
    theta[:2] = 0.0, np.pi
    points = np.stack([np.sin(theta) * np.sin(phi), np.cos(theta), np.sin(theta) * np.cos(phi)], 1)
    return theta, phi, torch.from_numpy(points)


def test_harmonics_are_those_of_e3nn() -> None:
    theta, phi, points = angles(40)
    expected = o3.spherical_harmonics(list(range(12)), points, normalize=False, normalization="integral").T
    np.testing.assert_allclose(harmonics(range(12), theta, phi), expected.numpy(), rtol=0, atol=2e-13)


def test_harmonics_may_have_gaps_in_their_degrees() -> None:
    theta, phi, _ = angles(5)
    everything = harmonics(range(8), theta, phi)
    np.testing.assert_array_equal(harmonics([2, 5], theta, phi), np.concatenate([everything[4:9], everything[25:36]]))


def test_gradients_are_those_of_autograd_and_finite_at_the_poles() -> None:
    theta, phi, points = angles(30)
    degrees = list(range(9))

    def slopes(direction: torch.Tensor) -> np.ndarray:
        def at(r: torch.Tensor) -> torch.Tensor:
            return o3.spherical_harmonics(degrees, r, normalize=True, normalization="integral")

        return torch.func.jvp(at, (points,), (direction,))[1].T.numpy()

    sine, cosine = np.sin(phi), np.cos(phi)
    south = np.stack([np.cos(theta) * sine, -np.sin(theta), np.cos(theta) * cosine], 1)
    east = np.stack([cosine, np.zeros_like(phi), -sine], 1)
    along_theta, along_phi = gradients(degrees, theta, phi)
    np.testing.assert_allclose(along_theta, slopes(torch.from_numpy(south)), rtol=0, atol=1e-11)
    np.testing.assert_allclose(along_phi, slopes(torch.from_numpy(east)), rtol=0, atol=1e-11)


def test_legendre_functions_stay_finite_and_normalised_at_high_degree() -> None:
    theta, weight = gauss_legendre(2 * 90)
    P = legendre(90, theta)
    norms = 2 * np.pi * (P[90] ** 2 * weight).sum(-1)
    np.testing.assert_allclose(norms, 1.0, rtol=1e-12)


@pytest.mark.parametrize("odd", [False, True], ids=["even", "odd"])
def test_strengths_are_the_variances_of_paths(odd: bool) -> None:
    found = strengths((4, 3, 7), odd=odd)
    for l1, l2, l3 in np.ndindex(5, 4, 8):
        expected = 0.0
        if (l1 + l2 + l3) % 2 == odd and abs(l1 - l2) <= l3 <= l1 + l2 and (l1 * l2 * l3 or not odd):
            expected = float(coefficient(l1, l2, l3).square().sum()) / (2 * l3 + 1)
            expected /= l1 * (l1 + 1) * l2 * (l2 + 1) if odd else 1
        assert found[l1, l2, l3] == pytest.approx(expected, rel=1e-12, abs=1e-300)
