"""Quadrature on the sphere, exact for polynomials up to a degree, by points of which only one per orbit is listed.

The orbits are those of a small group under which every real spherical harmonic is even or odd. A function known by
its parts of each symmetry at the listed points is known at all points, and a matrix product over the listed points
costs as many times less as an orbit has points.
"""

from __future__ import annotations

from functools import lru_cache
from importlib.resources import files
from typing import Final, NamedTuple

import numpy as np

from molgen_gaunt.harmonics import Array

__all__ = ["SYMMETRIES", "Rule", "gauss_legendre", "sphere_rule", "symmetry_class"]

SYMMETRIES: Final = ("none", "inversion", "inversion-half-turn")  # groups of 1, 2 and 4 elements


class Rule(NamedTuple):
    """Points θ, φ [P] and the weight of each point's whole orbit [P]."""

    theta: Array
    phi: Array
    weight: Array


def symmetry_class(l: int, m: int, symmetry: str) -> int:
    """The class of the harmonic (l, m): bit 0 says that inversion flips its sign, bit 1 that a half turn does.

    >>> symmetry_class(3, -2, "inversion-half-turn"), symmetry_class(2, 1, "inversion-half-turn")
    (1, 2)
    """
    bits = (l % 2, m % 2)[: SYMMETRIES.index(symmetry)]
    return sum(bit << i for i, bit in enumerate(bits))


def sphere_rule(degree: int, symmetry: str = "none") -> Rule:
    """A rule that integrates every polynomial up to `degree` to rounding, with positive weights.

    Up to degree 31 with about (degree + 1)²/3 points in all (found by `scripts/make_quadrature.py`), beyond by
    Gauss-Legendre nodes in cos θ times uniform φ, (degree + 1)²/2 points.
    """
    even = max(2, degree - degree % 2)  # an odd polynomial integrates to zero on points that inversion keeps
    stored = "inversion" if symmetry == "none" else symmetry
    found = _stored().get(f"{stored}-{even}")
    rule = _symmetric_gauss_legendre(degree, stored) if found is None else Rule(*found)
    if symmetry != "none":
        return rule
    theta, phi, weight = rule
    return Rule(
        np.concatenate([theta, np.pi - theta]), np.concatenate([phi, phi + np.pi]), np.concatenate([weight, weight]) / 2
    )


def gauss_legendre(degree: int) -> tuple[Array, Array]:
    """Nodes θ [n] and weights [n] in cos θ, exact for polynomials in cos θ up to `degree`."""
    nodes, weights = np.polynomial.legendre.leggauss(degree // 2 + 1)
    return np.arccos(nodes), weights


def _symmetric_gauss_legendre(degree: int, symmetry: str) -> Rule:
    theta, weight = gauss_legendre(degree)
    count = degree + 1 + (degree + 1) % 2  # even, so that a half turn keeps the points
    upper = theta < np.pi / 2 + 1e-9
    theta, weight = theta[upper], np.where(abs(theta[upper] - np.pi / 2) < 1e-9, weight[upper], 2 * weight[upper])
    phi = np.arange(count) * 2 * np.pi / count
    if symmetry == "inversion-half-turn":
        phi, weight = phi[: count // 2], 2 * weight
    around = np.broadcast_to(phi, (len(theta), len(phi)))
    return Rule(np.repeat(theta, len(phi)), around.ravel().copy(), np.repeat(weight * 2 * np.pi / count, len(phi)))


@lru_cache(maxsize=1)
def _stored() -> dict[str, Array]:
    with (files("molgen_gaunt") / "quadrature.npz").open("rb") as file, np.load(file) as rules:
        return {name: rules[name] for name in rules.files}
