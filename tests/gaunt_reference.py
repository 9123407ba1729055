"""The Gaunt product in slow and obvious steps: coefficients of e3nn's `wigner_3j`, one einsum per path and channel."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache

import numpy as np
import torch
from e3nn import o3
from molgen_gaunt.form import Form, Slot
from torch import Tensor

METHODS = ("direct", "grid", "separable", "fourier")
SINGLE, DOUBLE = 1e-6, 1e-13  # relative errors that every method keeps in float32 and in float64, up to l = 10


def error(found: Tensor, expected: Tensor) -> float:
    """Largest difference, relative to the largest number that was expected."""
    assert found.shape == expected.shape
    found, expected = found.detach().double(), expected.detach().double()
    return float((found - expected).abs().max() / expected.abs().max())


@cache
def coefficient(l1: int, l2: int, l3: int) -> Tensor:
    """[2l₁+1, 2l₂+1, 2l₃+1] ∫ Y₁ Y₂ Y₃ where l₁ + l₂ + l₃ is even, ∫ r̂·(∇Y₁ × ∇Y₂) Y₃ where it is odd."""
    w3j = o3.wigner_3j(l1, l2, l3, dtype=torch.float64)
    size = math.sqrt((2 * l1 + 1) * (2 * l2 + 1) * (2 * l3 + 1) / (4 * math.pi))
    if (l1 + l2 + l3) % 2 == 0:
        return size * w3j[l1, l2, l3] * w3j  # the 3j symbol of three zeros
    if not l1 * l2 * l3:
        return torch.zeros_like(w3j)
    return size * _slope(l1) * _slope(l2) * abs(w3j[l1 + 1, l2 - 1, l3]) * w3j  # that of 1, −1 and 0


def table(degrees: Sequence[Sequence[int]], *, odd: bool) -> Tensor:
    """[n₁, n₂, n₃] of all degrees of three sides, zero where the sum of degrees is of the other parity."""
    rows = []
    for l1 in degrees[0]:
        blocks = [[_block(l1, l2, l3, odd) for l3 in degrees[2]] for l2 in degrees[1]]
        rows.append(torch.cat([torch.cat(line, 2) for line in blocks], 1))
    return torch.cat(rows, 0)


def form_of(degrees: Sequence[Sequence[int]], *, odd: bool = False) -> Form:
    """One channel, no scales, components next to each other."""
    slots = []
    for side in degrees:
        size = sum(2 * degree + 1 for degree in side)
        slots.append(Slot(tuple(side), np.ones(len(side)), size, 1, np.arange(size)[None]))
    return Form((slots[0], slots[1], slots[2]), odd)


def slow_product(
    x1: Tensor,
    x2: Tensor,
    irreps: Sequence[o3.Irreps | str],
    *,
    parity: str = "even",
    normalization: str = "component",
    weights: Tensor | None = None,
    rank: int = 1,
) -> Tensor:
    """[B, irreps_out] of x1 [B, irreps1] and x2 [B, irreps2], in float64; weights [B, numel] as documented."""
    sides = [o3.Irreps(side) for side in irreps]
    found = [_multiplicities(side) for side in sides]
    C = max(max(side.values()) for side in found[:2])
    f, g = _channels(x1.double(), sides[0], C), _channels(x2.double(), sides[1], C)
    factors = _factors(weights, found, C, rank)
    paths = [
        (a, b, c)
        for a in found[0]
        for b in found[1]
        for c in found[2]
        if c in a * b and ((a.l + b.l + c.l) % 2 == 0 or parity == "full")
    ]
    total = {c: x1.new_zeros(len(x1), C, c.dim, dtype=torch.float64) for c in found[2]}
    variance = dict.fromkeys(found[2], 0.0)
    for a, b, c in paths:
        couples = coefficient(a.l, b.l, c.l)
        if normalization == "component" and (a.l + b.l + c.l) % 2:
            couples = couples / (_slope(a.l) * _slope(b.l))
        variance[c] += float(couples.square().sum() / c.dim)
        term = torch.einsum("bui,buj,ijk->buk", f[a], g[b], couples)
        if factors is not None:
            each = factors[0][a] * factors[1][b] * factors[2][c]  # [B, rank, C]
            term = term * each.sum(1)[..., None] / math.sqrt(rank)
        total[c] += term
    if normalization == "component":
        total = {c: value / math.sqrt(variance[c]) for c, value in total.items()}
    used, parts = dict.fromkeys(total, 0), []
    for multiplicity, c in sides[2]:
        parts.append(total[c][:, used[c] : used[c] + multiplicity].flatten(1))
        used[c] += multiplicity
    return torch.cat(parts, 1)


def rotation(seed: int, *, inverted: bool = False) -> Tensor:
    """A random rotation in float64, of a random unit quaternion; `inverted`: times −1."""
    w, x, y, z = torch.nn.functional.normalize(
        torch.randn(4, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)), dim=0
    ).tolist()
    matrix = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    return torch.tensor(matrix, dtype=torch.float64) * (-1 if inverted else 1)


def representation(irreps: o3.Irreps | str, matrix: Tensor) -> Tensor:
    """[dim, dim] of an orthogonal matrix, as ∫ Y(R r) Y(r)ᵀ: e3nn's `D_from_matrix` loses digits near its poles."""
    sign = torch.det(matrix).sign()
    blocks = []
    for multiplicity, ir in o3.Irreps(irreps):
        points, weight = _points(2 * ir.l)
        turned, still = (values(ir.l, r) for r in (points @ (sign * matrix).T, points))
        D = (turned * weight[:, None]).T @ still
        blocks += [D * (1 if sign > 0 else ir.p)] * multiplicity
    return torch.block_diag(*blocks)


def values(degrees: int | list[int], points: Tensor) -> Tensor:
    """[points, Σ(2l+1)] orthonormal harmonics."""
    return o3.spherical_harmonics(degrees, points, normalize=True, normalization="integral")


def _points(degree: int) -> tuple[Tensor, Tensor]:
    """Unit vectors and weights, exact to a degree."""
    nodes, weights = np.polynomial.legendre.leggauss(degree // 2 + 1)
    height, angle = (a.ravel() for a in np.meshgrid(nodes, np.arange(degree + 1) * 2 * np.pi / (degree + 1)))
    ring = np.sqrt(1 - height**2)
    points = np.stack([ring * np.sin(angle), height, ring * np.cos(angle)], 1)
    return torch.from_numpy(points), torch.from_numpy(np.tile(weights, degree + 1) * 2 * np.pi / (degree + 1))


def _slope(degree: int) -> float:
    return math.sqrt(degree * (degree + 1))


def _block(l1: int, l2: int, l3: int, odd: bool) -> Tensor:
    if (l1 + l2 + l3) % 2 == odd and abs(l1 - l2) <= l3 <= l1 + l2:
        return coefficient(l1, l2, l3)
    return torch.zeros(2 * l1 + 1, 2 * l2 + 1, 2 * l3 + 1, dtype=torch.float64)


def _multiplicities(irreps: o3.Irreps) -> dict[o3.Irrep, int]:
    found: dict[o3.Irrep, int] = {}
    for multiplicity, ir in irreps:
        found[ir] = found.get(ir, 0) + multiplicity
    return found


def _channels(x: Tensor, irreps: o3.Irreps, count: int) -> dict[o3.Irrep, Tensor]:
    """[B, count, 2l+1] of each irrep; a side of single functions is repeated, what is missing is zero."""
    found: dict[o3.Irrep, list[Tensor]] = {}
    for (multiplicity, ir), place in zip(irreps, irreps.slices(), strict=True):
        found.setdefault(ir, []).append(x[:, place].reshape(len(x), multiplicity, ir.dim))
    joined = {ir: torch.cat(parts, 1) for ir, parts in found.items()}
    if all(part.shape[1] == 1 for part in joined.values()):
        return {ir: part.expand(-1, count, -1) for ir, part in joined.items()}
    return {ir: torch.nn.functional.pad(part, (0, 0, 0, count - part.shape[1])) for ir, part in joined.items()}


def _factors(
    weights: Tensor | None, found: list[dict[o3.Irrep, int]], count: int, rank: int
) -> list[dict[o3.Irrep, Tensor]] | None:
    """[B, rank, C] by side and irrep: one for each channel that the side has, or meets where it meets all."""
    if weights is None:
        return None
    sides, start = [], 0
    for s, side in enumerate(found):
        most = max(side.values())
        channels = count if s < 2 and most == 1 else most
        size = rank * len(side) * channels
        part = weights[:, start : start + size].double().view(-1, rank, len(side), channels)
        padded = torch.nn.functional.pad(part, (0, count - channels))
        sides.append({ir: padded[:, :, i] for i, ir in enumerate(side)})
        start += size
    assert start == weights.shape[1]
    return sides
