"""Rotations of features: Wigner D matrices of any degree, and the frames of edges whose polar axis is the edge.

Everything is in e3nn's convention: l = 1 is (x, y, z), the polar axis is y, R = Y(α)·X(β)·Y(γ).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from molgen.errors import ConfigError, InputError
from molgen.nn.spherical_harmonics import unit_components

__all__ = ["WignerD", "edge_frames", "rotate", "rotate_back", "shortest_rotations"]

# entries of a block that stay in a CPU core's cache between the steps that make them (1.5 times the speed at l = 10),
# and rows below which the calls themselves cost more
_CACHED_ENTRIES: Final = 1 << 17
_LEAST_ROWS: Final = 512


class WignerD(nn.Module):
    """D^l(R) for l = 0 … `l_max`: Y_l(R r) = D^l(R) Y_l(r), equal to e3nn's `Irrep(l, 1).D_from_matrix(R)`.

    D = Z(α) d(β) Z(γ), where d(β) is one matrix product of (1, cos kβ, sin kβ) with a table, and cosines and sines come
    from R without angles. Derivatives of any order are those along rotations, exact also at the poles of the angles:
    for δR = [ω]R, δD = (ω·G) D with the generators G, so no derivative passes through an angle. An entry-wise
    derivative by R that leaves the rotations is not defined by this and has no meaning.

    Args:
        l_max: the largest degree.

    Raises:
        ConfigError: l_max is negative.

    >>> blocks = WignerD(2)(torch.eye(3).expand(5, 3, 3))
    >>> [tuple(block.shape) for block in blocks]
    [(5, 1, 1), (5, 3, 3), (5, 5, 5)]
    """

    _table: Tensor
    _generators: Tensor

    def __init__(self, l_max: int) -> None:
        super().__init__()
        if l_max < 0:
            raise ConfigError("a Wigner D matrix of negative degree", where=f"l_max={l_max}", expected="0 or more")
        self.l_max = l_max
        self.register_buffer("_table", torch.from_numpy(_tables(l_max)[0].copy()), persistent=False)
        self.register_buffer("_generators", torch.from_numpy(_tables(l_max)[1].copy()), persistent=False)

    def forward(self, rotations: Tensor) -> list[Tensor]:
        """[..., 2l + 1, 2l + 1] for each l, in the dtype of rotations [..., 3, 3] (proper and orthogonal)."""
        if rotations.shape[-2:] != (3, 3) or not rotations.is_floating_point():
            found = f"{rotations.dtype} of shape {tuple(rotations.shape)}"
            raise InputError("no rotation matrices", where=found, expected="floating point [..., 3, 3]")
        work = rotations if rotations.dtype in (torch.float32, torch.float64) else rotations.float()
        table, generators = self._table.to(work.dtype), self._generators.to(work.dtype)
        blocks = _Blocks.apply(work.reshape(-1, 3, 3), table, generators, self.l_max)
        return [block.reshape(*rotations.shape[:-2], *block.shape[1:]).to(rotations.dtype) for block in blocks]

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> WignerD:
        super()._apply(fn, recurse)
        # a round trip through lower precision must not blunt the tables, so they keep their dtype
        for name, values in zip(("_table", "_generators"), _tables(self.l_max), strict=True):
            buffer = getattr(self, name)
            if buffer.dtype != torch.float64:
                setattr(self, name, torch.from_numpy(values.copy()).to(buffer.device))
        return self


def rotate(features: Tensor, blocks: Sequence[Tensor]) -> Tensor:
    """[E, C, (l_max + 1)²] features of the same shape, packed by degree, turned by the blocks [E, 2l + 1, 2l + 1]."""
    return torch.cat([part @ block.mT for part, block in _by_degree(features, blocks)], dim=-1)


def rotate_back(features: Tensor, blocks: Sequence[Tensor]) -> Tensor:
    """The inverse of `rotate`, with the same blocks."""
    return torch.cat([part @ block for part, block in _by_degree(features, blocks)], dim=-1)


def edge_frames(vectors: Tensor) -> Tensor:
    """[..., 3, 3] proper rotations that take each vector [..., 3] onto the polar axis +y; the identity for zero.

    The turn about the edge that remains free is chosen on two charts: the shortest rotation to +y where y ≥ 0, else the
    shortest to −y followed by a half turn about x. Matrix and derivatives are finite for every vector, so a function
    that does not depend on the free turn has exact derivatives of any order in all directions, ±y among them.

    >>> r = torch.tensor([[0.0, -2.0, 0.0]])
    >>> (edge_frames(r) @ r[..., None]).squeeze(-1).tolist()
    [[0.0, 2.0, 0.0]]
    """
    x, y, z = _components(vectors)
    sign = torch.where(y >= 0, torch.ones_like(y), -torch.ones_like(y))
    f = 1 / (1 + sign * y)
    top, middle = (1 - x * x * f, -sign * x, -x * z * f), (x, y, z)
    return _matrix(top, middle, (-sign * x * z * f, -z, sign * (1 - z * z * f)))


def shortest_rotations(vectors: Tensor) -> Tensor:
    """[..., 3, 3] the shortest rotation of each vector [..., 3] onto the polar axis +y; the identity for zero.

    No continuous choice exists at −y: near it the matrix turns ever faster with the direction (derivatives grow as
    1/distance); exactly there it is the half turn about x, with finite derivatives that are not those of its
    neighbourhood. Where only the frame's polar axis matters, `edge_frames` has no such point.
    """
    x, y, z = _components(vectors)
    square = x * x + z * z
    pole = (square == 0) & (y < 0)
    upper, one = y >= 0, torch.ones_like(y)
    # 1/(1 + y), which cancels below the equator, is (1 − y)/(x² + z²) there
    f = torch.where(upper, 1 / (1 + torch.where(upper, y, one)), (1 - y) / torch.where(upper | pole, one, square))
    return _matrix((1 - x * x * f, -x, -x * z * f), (x, y, z), (-x * z * f, -z, torch.where(pole, -one, 1 - z * z * f)))


class _Blocks(torch.autograd.Function):
    """D^l of rotations [E, 3, 3]; its derivative is written in terms of itself, so it has any order."""

    @staticmethod
    def forward(rotations: Tensor, table: Tensor, generators: Tensor, l_max: int) -> tuple[Tensor, ...]:
        with torch.autocast(rotations.device.type, enabled=False):
            cosines, sines = _multiples(rotations.double(), l_max)
            # 1, cos β, sin β, cos 2β, …: degree l takes the first 2l + 1
            pairs = torch.stack((cosines[1, 1:], sines[1, 1:]), 1).flatten(0, 1)
            waves = torch.cat((cosines[1, :1], pairs))
            phases = (*_signed(cosines[0], sines[0]), *_signed(cosines[2], -sines[2]))
            arguments = [t.to(rotations.dtype) for t in (waves, *phases)]
            return tuple(_degree(arguments, table, degree, l_max) for degree in range(l_max + 1))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        rotations, _, generators, _ = inputs
        ctx.save_for_backward(rotations, generators, *output)
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor, None, None, None]:
        rotations, generators, *blocks = ctx.saved_tensors
        torque = torch.zeros_like(rotations[:, 0])  # [E, 3], the derivative along turns about x, y, z
        with torch.autocast(rotations.device.type, enabled=False):
            for degree, (grad, block) in enumerate(zip(grads, blocks, strict=True)):
                if grad is not None and degree > 0:
                    torque = torque + torch.bmm(grad, block.mT).flatten(1) @ generators[_span(degree)]
        # [e_i]R, i = x, y, z, are orthogonal with squared norm 2
        return torch.linalg.cross(torque[:, :, None], rotations, dim=1) / 2, None, None, None


def _multiples(R: Tensor, l_max: int) -> tuple[Tensor, Tensor]:
    """[3, l_max + 1, E] cosines and sines of kα, kβ, kγ for k = 0 … l_max, of R = Y(α)X(β)Y(γ)."""
    sine = torch.hypot(R[:, 0, 1], R[:, 2, 1])
    tilted = sine > 0
    safe = torch.where(tilted, sine, torch.ones_like(sine))
    # without tilt only α + γ is defined; α = 0 then
    cos_a = torch.where(tilted, R[:, 2, 1] / safe, torch.ones_like(sine))
    sin_a = torch.where(tilted, R[:, 0, 1] / safe, torch.zeros_like(sine))
    cos_g = cos_a * R[:, 0, 0] - sin_a * R[:, 2, 0]
    sin_g = cos_a * R[:, 0, 2] - sin_a * R[:, 2, 2]
    cos1, sin1 = torch.stack((cos_a, R[:, 1, 1], cos_g)), torch.stack((sin_a, sine, sin_g))
    norm = torch.hypot(cos1, sin1)
    cos1, sin1 = cos1 / norm, sin1 / norm
    cosines, sines = [torch.ones_like(cos1)], [torch.zeros_like(cos1)]
    for _ in range(l_max):
        c, s = cosines[-1], sines[-1]
        cosines.append(c * cos1 - s * sin1)
        sines.append(s * cos1 + c * sin1)
    return torch.stack(cosines, 1), torch.stack(sines, 1)


def _signed(cosines: Tensor, sines: Tensor) -> tuple[Tensor, Tensor]:
    """[2 l_max + 1, E] for m = −l_max … l_max: the diagonal and the antidiagonal of a turn about the polar axis."""
    return torch.cat((cosines[1:].flip(0), cosines)), torch.cat((sines[1:].flip(0), -sines))


def _degree(arguments: list[Tensor], table: Tensor, degree: int, l_max: int) -> Tensor:
    rows, n = arguments[0].shape[1], 2 * degree + 1
    whole = table.device.type != "cpu" or torch.compiler.is_compiling()
    step = rows if whole else max(_LEAST_ROWS, _CACHED_ENTRIES // n**2)
    if rows <= step:
        return _product(arguments, table, degree, l_max).permute(2, 0, 1).contiguous()
    block = table.new_empty(rows, n, n)
    for start in range(0, rows, step):
        part = slice(start, start + step)
        product = _product([t[:, part] for t in arguments], table, degree, l_max)
        block[part].flatten(1).copy_(product.flatten(0, 1).t())
    return block


def _product(arguments: list[Tensor], table: Tensor, degree: int, l_max: int) -> Tensor:
    """[2l + 1, 2l + 1, E]: Z(α) d(β) Z(γ), where row m of Z holds a cosine at m and a sine at −m.

    Edges come last, so that every step runs along contiguous rows of them; the turn at the end costs less.
    """
    waves, cos_a, sin_a, cos_g, sin_g = arguments
    n, orders = 2 * degree + 1, slice(l_max - degree, l_max + degree + 1)
    d = (table[_span(degree), :n] @ waves[:n]).view(n, n, -1)
    left = (cos_a[orders, None] * d).addcmul_(sin_a[orders, None], d.flip(0))
    return (cos_g[orders] * left).addcmul_(sin_g[orders], left.flip(1))


def _span(degree: int) -> slice:
    """Where the (2l + 1)² entries of degree l stand among those of all degrees."""
    start = degree * (4 * degree * degree - 1) // 3
    return slice(start, start + (2 * degree + 1) ** 2)


@functools.cache
def _tables(l_max: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Of all degrees: [Σ(2l + 1)², 2 l_max + 1] of d(β) by 1, cos β, sin β, …, and [Σ(2l + 1)², 3] generators."""
    waves, generators = [], []
    for degree in range(l_max + 1):
        turns = _so3_generators(degree)  # [3, n, n]
        # d(β) = exp(β G_x) = Σ_k e^{ikβ} P_k; the eigenvalues of −iG_x are −l … l, which eigh sorts
        _, vectors = np.linalg.eigh(-1j * turns[0])
        projectors = np.einsum("ik,jk->kij", vectors, vectors.conj())[degree:]  # k = 0 … l
        table = np.zeros((2 * l_max + 1, 2 * degree + 1, 2 * degree + 1))
        table[0] = projectors[0].real
        table[1 : 2 * degree + 1 : 2] = 2 * projectors[1:].real
        table[2 : 2 * degree + 1 : 2] = -2 * projectors[1:].imag
        waves.append(table.reshape(2 * l_max + 1, -1).T)
        generators.append(turns.reshape(3, -1).T)
    return np.concatenate(waves), np.concatenate(generators)


def _so3_generators(degree: int) -> NDArray[np.float64]:
    """[3, n, n] derivatives of D^l by turns about x, y, z: those of e3nn, in full float64."""
    m = np.arange(-degree, degree + 1)
    raising = np.diag(-np.sqrt(degree * (degree + 1.0) - m[:-1] * (m[:-1] + 1)), -1)
    lowering = np.diag(np.sqrt(degree * (degree + 1.0) - m[1:] * (m[1:] - 1)), 1)
    turns = np.stack([0.5 * (raising + lowering), np.diag(1j * m), -0.5j * (raising - lowering)])
    # columns are the real harmonics sin and cos of m = k in terms of the complex ones ±k
    basis = np.zeros((2 * degree + 1, 2 * degree + 1), dtype=complex)
    basis[degree, degree] = 1
    for k in range(1, degree + 1):
        sign = (-1) ** k
        pair = np.array([[-1j, 1], [1j * sign, sign]]) / np.sqrt(2)
        basis[np.ix_([degree - k, degree + k], [degree - k, degree + k])] = pair
    return np.real(basis.conj().T @ turns @ basis)


def _components(vectors: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    if vectors.shape[-1:] != (3,) or not vectors.is_floating_point():
        found = f"{vectors.dtype} of shape {tuple(vectors.shape)}"
        raise InputError("no vectors", where=found, expected="floating point [..., 3]")
    x, y, z = unit_components(vectors)
    return x, torch.where((x == 0) & (y == 0) & (z == 0), torch.ones_like(y), y), z


def _matrix(*rows: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    return torch.stack([torch.stack(row, -1) for row in rows], -2)


def _by_degree(features: Tensor, blocks: Sequence[Tensor]) -> list[tuple[Tensor, Tensor]]:
    if features.shape[-1] != len(blocks) ** 2:
        raise InputError(
            f"features of {features.shape[-1]} components and {len(blocks)} blocks",
            expected=f"features [E, C, {len(blocks) ** 2}], for degrees 0 … {len(blocks) - 1}",
        )
    return [(features[..., degree * degree : (degree + 1) ** 2], block) for degree, block in enumerate(blocks)]
