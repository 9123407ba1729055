"""Real spherical harmonics and their gradients as float64 tables: e3nn's order, signs and polar axis, of any degree.

A component (l, m) is orthonormal on the sphere, Y = P_l^|m|(θ)·T_m(φ) with T = √2 sin|m|φ, 1, √2 cos mφ for negative,
zero and positive m; θ is measured from e3nn's polar axis y, φ is atan2(x, z).
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

__all__ = ["Array", "azimuthal", "components", "gradients", "harmonics", "legendre", "polar_tables"]

Array = NDArray[np.float64]


def components(degrees: Iterable[int]) -> list[tuple[int, int]]:
    """(l, m) of each component, in e3nn's order.

    >>> components([0, 1])
    [(0, 0), (1, -1), (1, 0), (1, 1)]
    """
    return [(l, m) for l in degrees for m in range(-l, l + 1)]


def legendre(l_max: int, theta: Array, *, over_sine: bool = False) -> Array:
    """[l_max+1, l_max+1, points] normalised associated Legendre functions P[l, m] of cos θ, without (−1)^m.

    Also beyond π, where the sine is negative: there it is the continuation that the torus of the Fourier method needs.

    Args:
        l_max: highest degree.
        theta: [points].
        over_sine: P / sin θ instead, finite at the poles; zero for m = 0.
    """
    x, sine = np.cos(theta), np.sin(theta)
    P = np.zeros((l_max + 1, l_max + 1, len(theta)))
    P[0, 0] = 0 if over_sine else np.sqrt(1 / (4 * np.pi))
    for m in range(1, l_max + 1):
        first = np.sqrt(3 / (8 * np.pi)) * (1 if over_sine else sine)
        P[m, m] = first if m == 1 else np.sqrt((2 * m + 1) / (2 * m)) * sine * P[m - 1, m - 1]
    for m in range(l_max):
        P[m + 1, m] = np.sqrt(2 * m + 3) * x * P[m, m]
    m = np.arange(l_max + 1)[:, None]
    for l in range(2, l_max + 1):
        inner = m[: l - 1]
        a = np.sqrt((4 * l * l - 1) / (l * l - inner * inner))
        b = np.sqrt(((l - 1) ** 2 - inner * inner) / (4 * (l - 1) ** 2 - 1))
        P[l, : l - 1] = a * (x * P[l - 1, : l - 1] - b * P[l - 2, : l - 1])
    return P


def polar_tables(l_max: int, theta: Array) -> tuple[Array, Array, Array]:
    """P, ∂P/∂θ and P/sin θ, each [l_max+1, l_max+1, points]."""
    P = legendre(l_max, theta)
    slope = np.zeros_like(P)
    for l in range(1, l_max + 1):
        m = np.arange(1, l + 1)[:, None]
        slope[l, 0] = -np.sqrt(l * (l + 1)) * P[l, 1]
        above = np.zeros((l, len(theta)))
        above[:-1] = P[l, 2 : l + 1]
        slope[l, 1 : l + 1] = 0.5 * (np.sqrt((l + m) * (l - m + 1)) * P[l, :l] - np.sqrt((l - m) * (l + m + 1)) * above)
    return P, slope, legendre(l_max, theta, over_sine=True)


def azimuthal(l_max: int, phi: Array) -> tuple[Array, Array]:
    """T and ∂T/∂φ, each [2 l_max + 1, points], for m = −l_max … l_max."""
    m = np.arange(1, l_max + 1)[:, None]
    sine, cosine = np.sqrt(2) * np.sin(m * phi), np.sqrt(2) * np.cos(m * phi)
    one, zero = np.ones((1, len(phi))), np.zeros((1, len(phi)))
    return np.concatenate([sine[::-1], one, cosine]), np.concatenate([(m * cosine)[::-1], zero, -m * sine])


def harmonics(degrees: Iterable[int], theta: Array, phi: Array) -> Array:
    """[Σ(2l+1), points] values.

    >>> harmonics([0, 1], np.array([0.0]), np.array([0.0])).round(3).tolist()  # on the axis y
    [[0.282], [0.0], [0.489], [0.0]]
    """
    return _select(components(degrees), legendre, azimuthal, theta, phi)


def gradients(degrees: Iterable[int], theta: Array, phi: Array) -> tuple[Array, Array]:
    """∂Y/∂θ and (1/sin θ) ∂Y/∂φ, each [Σ(2l+1), points]."""
    lm = components(degrees)
    return (
        _select(lm, lambda l_max, t: polar_tables(l_max, t)[1], azimuthal, theta, phi),
        _select(lm, lambda l_max, t: polar_tables(l_max, t)[2], lambda l_max, p: azimuthal(l_max, p)[::-1], theta, phi),
    )


def _select(lm: list[tuple[int, int]], polar, around, theta: Array, phi: Array) -> Array:  # type: ignore[no-untyped-def]
    l_max = max(l for l, _ in lm)
    P, T = polar(l_max, theta), around(l_max, phi)[0]
    l, m = np.array(lm).T
    return P[l, abs(m)] * T[m + l_max]
