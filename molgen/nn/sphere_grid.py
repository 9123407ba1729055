"""Functions on the sphere by their values at points: where nonlinearities act on spherical channels."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from molgen.errors import ConfigError
from molgen.nn.exact_tables import ExactTables
from molgen.nn.spherical_harmonics import SphericalHarmonics

__all__ = ["SphereGrid"]


class SphereGrid(ExactTables):
    """To and from values at Gauss-Legendre × uniform points: from_grid(to_grid(x)) is x.

    Analysis is exact for functions of degree up to `degree` − l_max, so a product of functions of degrees that sum to
    that aliases nothing. A nonlinearity has every degree: what is left over breaks equivariance, the less the higher
    `degree`.

    Args:
        l_max: highest degree of the features.
        degree: highest degree that the quadrature integrates exactly, at least 2·l_max.

    Raises:
        ConfigError: a degree too low.

    >>> grid = SphereGrid(2, 8)
    >>> x = torch.randn(5, 9, 4)
    >>> torch.allclose(grid.from_grid(grid.to_grid(x)), x, atol=1e-5)
    True
    """

    values: Tensor
    weights: Tensor

    def __init__(self, l_max: int, degree: int) -> None:
        super().__init__()
        if l_max < 0 or degree < 2 * l_max:
            raise ConfigError(f"a grid of degree {degree} for l_max={l_max}", expected=f"at least {2 * max(l_max, 0)}")
        self.l_max, self.degree = l_max, degree
        values, weights = _tables(l_max, degree)
        self.table("values", values)
        self.table("weights", weights)

    @property
    def size(self) -> int:
        """G, the number of points."""
        return len(self.values)

    def to_grid(self, x: Tensor) -> Tensor:
        """[..., G, C] values of x [..., (l_max + 1)², C], components in component normalisation."""
        return self.values.to(x.dtype) @ x

    def from_grid(self, values: Tensor) -> Tensor:
        """[..., (l_max + 1)², C] of values [..., G, C]."""
        return self.weights.to(values.dtype) @ values


def _tables(l_max: int, degree: int) -> tuple[Tensor, Tensor]:
    """[G, K] harmonics at the points, and [K, G] the same times the weights, which sum to one: float64."""
    cosines, weights = np.polynomial.legendre.leggauss(degree // 2 + 1)
    count = degree + 1
    phi = 2 * np.pi * (np.arange(count) + 0.5) / count
    sines = np.sqrt(1 - cosines**2)
    points = np.stack(
        [np.outer(sines, np.sin(phi)), np.repeat(cosines[:, None], count, 1), np.outer(sines, np.cos(phi))], -1
    )
    harmonics = SphericalHarmonics(l_max)(torch.from_numpy(points.reshape(-1, 3)))  # mean square one
    share = torch.from_numpy(np.repeat(weights / (2 * count), count))
    return harmonics, (harmonics * share[:, None]).T.contiguous()
