"""What is computed: a channel-wise product of functions on the sphere up to degree L, and its reference in float64."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from e3nn import o3
from molgen_gaunt.clebsch_gordan import Path, path_coefficient, paths
from torch import Tensor

__all__ = ["REFERENCE_L_MAX", "Problem"]

REFERENCE_L_MAX = 11  # above it e3nn's `wigner_3j` takes minutes and loses digits


@dataclass(frozen=True)
class Problem:
    """One size of the product.

    Args:
        l_max: L, the highest degree of both inputs and of the output.
        batch: rows of the tensors; times `channels` the rows of the tables.
        channels: functions in each row.
        parity: `even`, the product of functions; or `full`, with the odd paths and so with pseudotensors.
        device: where.
        dtype: float32 or float64.
    """

    l_max: int
    batch: int
    channels: int
    parity: str = "even"
    device: str = "cpu"
    dtype: torch.dtype = torch.float32

    @property
    def rows(self) -> int:
        """Products of two functions that are computed."""
        return self.batch * self.channels

    @property
    def irreps(self) -> o3.Irreps:
        """Of both inputs: `16x0e + 16x1o + …`."""
        return o3.Irreps([(self.channels, (l, (-1) ** l)) for l in range(self.l_max + 1)])

    @property
    def irreps_out(self) -> o3.Irreps:
        """Of the output: those of the inputs, with `full` their pseudotensors too (there is no `0o`)."""
        pseudo = [(self.channels, (l, -((-1) ** l))) for l in range(1, self.l_max + 1)]
        return self.irreps + o3.Irreps(pseudo if self.parity == "full" else [])

    def paths(self) -> list[Path]:
        """Of the Clebsch-Gordan product."""
        return paths(self.irreps, self.irreps, self.irreps_out, self.parity)

    def inputs(self, batch: int | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Standard normal x, y and gradient of the output, `mul_ir`."""
        random = torch.Generator(self.device).manual_seed(0)
        rows = self.batch if batch is None else batch
        sides = self.irreps, self.irreps, self.irreps_out
        x, y, g = (
            torch.randn(rows, irreps.dim, generator=random, dtype=self.dtype, device=self.device) for irreps in sides
        )
        return x, y, g

    def reference(self, x: Tensor, y: Tensor) -> Tensor:
        """Path by path from `wigner_3j`, in float64 on the CPU."""
        x, y = x.double().cpu(), y.double().cpu()
        at1, at2, at3 = (
            dict(zip((ir for _, ir in irreps), irreps.slices(), strict=True))
            for irreps in (self.irreps, self.irreps, self.irreps_out)
        )
        out = x.new_zeros(len(x), self.irreps_out.dim)
        for ir1, ir2, ir3 in self.paths():
            coupled = o3.wigner_3j(ir1.l, ir2.l, ir3.l, dtype=torch.float64) * path_coefficient(ir1.l, ir2.l, ir3.l)
            left = x[:, at1[ir1]].view(len(x), self.channels, ir1.dim)
            right = y[:, at2[ir2]].view(len(y), self.channels, ir2.dim)
            out[:, at3[ir3]] += torch.einsum("zui,zuj,ijk->zuk", left, right, coupled).flatten(1)
        return out

    def minimal_bytes(self) -> int:
        """Bytes of both inputs read once and the output written once."""
        return self.batch * (2 * self.irreps.dim + self.irreps_out.dim) * self.dtype.itemsize

    def quadrature_flops(self) -> int:
        """Floating-point operations of dense quadrature with the fewest Gauss-Legendre × uniform points (estimate)."""
        points = math.ceil((3 * self.l_max + 1) / 2) * (3 * self.l_max + 1)
        return self.rows * points * (3 * 2 * (self.l_max + 1) ** 2 + 1)
