"""What is computed: a trilinear form on three sets of channel-wise functions on the sphere.

Even, ∫ f g h; odd, ∫ r̂·(∇f × ∇g) h. The product of f and g is the form's derivative with respect to h, and the
gradient of a product is the same form with its arguments in other places, so that one description serves all of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from e3nn import o3
from numpy.typing import NDArray

from molgen_gaunt.channels import joined
from molgen_gaunt.harmonics import Array, components

__all__ = ["Form", "Slot", "channels_of", "natural", "slot_of", "strengths"]


@dataclass(frozen=True, eq=False)
class Slot:
    """One of the three sets of functions, and where its components stand in a tensor's last dimension."""

    degrees: tuple[int, ...]  # ascending
    scale: Array  # [degrees] factor of each degree
    width: int  # of the tensor's last dimension
    channels: int
    positions: NDArray[np.int64]  # [channels, components]; −1 where a channel lacks the degree

    @property
    def l_max(self) -> int:
        """Highest degree."""
        return self.degrees[-1]

    @cached_property
    def scale_of_components(self) -> Array:
        """[components] of `scale`."""
        return np.repeat(self.scale, [2 * l + 1 for l in self.degrees])


@dataclass(frozen=True, eq=False)
class Form:
    """The form: its three slots, the last one the product's, and whether it is the odd one."""

    slots: tuple[Slot, Slot, Slot]
    odd: bool = False

    @property
    def degree(self) -> int:
        """Polynomial degree of the integrand, which quadrature must be exact for."""
        return sum(slot.l_max for slot in self.slots)


def natural(l: int, p: int) -> bool:
    """Whether an irrep has the parity of the harmonics of its degree; if not it is of a pseudotensor."""
    return p == (-1) ** l


def channels_of(*sides: o3.Irreps) -> tuple[int, list[int]]:
    """Channels of a product, and of each side: 1 where a side's one function meets all channels."""
    most = [max(joined(side).values()) for side in sides]
    return max(most), [1 if width == 1 else max(most) for width in most]


def slot_of(irreps: o3.Irreps, *, naturals: bool, channels: int, scale: dict[int, float]) -> Slot | None:
    """The slot of the irreps of one kind, natural or pseudo; None where there are none.

    Args:
        irreps: of the whole tensor; an irrep that occurs twice is one with more channels.
        naturals: which of its irreps.
        channels: 1 or the product's.
        scale: factor of each degree.
    """
    starts: dict[int, list[int]] = {}
    for (mul, (l, p)), place in zip(irreps, irreps.slices(), strict=True):
        if natural(l, p) == naturals:
            starts.setdefault(l, []).extend(place.start + u * (2 * l + 1) for u in range(mul))
    degrees = tuple(sorted(l for l, found in starts.items() if found))
    if not degrees:
        return None
    positions = np.full((channels, len(components(degrees))), -1, dtype=np.int64)
    column = 0
    for l in degrees:
        found = np.array(starts[l])
        positions[: len(found), column : column + 2 * l + 1] = found[:, None] + np.arange(2 * l + 1)
        column += 2 * l + 1
    return Slot(degrees, np.array([scale.get(l, 1.0) for l in degrees]), irreps.dim, channels, positions)


def strengths(l_max: tuple[int, int, int], *, odd: bool) -> Array:
    """[l₁, l₂, l₃] variance of each component of the product of standard normal coefficients.

    Even: (2l₁+1)(2l₂+1)/4π · (l₁ l₂ l₃; 0 0 0)², a 3j symbol. Odd: with gradients divided by √(l(l+1)), the same with
    (l₁ l₂ l₃; 1 −1 0)², where l₁+l₂+l₃ is odd.
    """
    nodes, weights = np.polynomial.legendre.leggauss(sum(l_max) // 2 + 1)
    top = max(l_max)
    P, first, second = _legendre_polynomials(top, nodes)
    l = np.arange(top + 1)[:, None]
    spun = P
    if odd:  # the Wigner function d¹¹ of each degree
        spun = (1 + nodes) / np.maximum(l * (l + 1), 1) * (first - (1 - nodes) * second) * (l > 0)
    squared = 0.5 * np.einsum("ax,bx,cx,x->abc", spun[: l_max[0] + 1], spun[: l_max[1] + 1], P[: l_max[2] + 1], weights)
    l1, l2, l3 = np.ogrid[: l_max[0] + 1, : l_max[1] + 1, : l_max[2] + 1]
    allowed = ((l1 + l2 + l3) % 2 == odd) & (abs(l1 - l2) <= l3) & (l3 <= l1 + l2) & ((l1 * l2 * l3 > 0) | (not odd))
    return np.where(allowed, (2 * l1 + 1) * (2 * l2 + 1) / (4 * np.pi) * squared, 0.0)


def _legendre_polynomials(l_max: int, x: Array) -> tuple[Array, Array, Array]:
    P, first, second = (np.zeros((l_max + 2, len(x))) for _ in range(3))
    P[0], P[1], first[1] = 1, x, 1
    for l in range(1, l_max):
        P[l + 1] = ((2 * l + 1) * x * P[l] - l * P[l - 1]) / (l + 1)
        first[l + 1] = first[l - 1] + (2 * l + 1) * P[l]
        second[l + 1] = second[l - 1] + (2 * l + 1) * first[l]
    return P[: l_max + 1], first[: l_max + 1], second[: l_max + 1]
