"""Equivariant linear maps, gates and norms of spherical channels.

Features are [..., K, C]: C channels, each with the K = Σ(2l + 1) components of the same irreps, "0e + 1o + 2e" say. In
this layout a linear map is one batch of matrix products; `mul_ir`, e3nn's, is what interfaces speak.
"""

from __future__ import annotations

import math
from typing import Final

import torch
from e3nn import o3
from torch import Tensor, nn
from torch.nn import functional as F

from molgen.errors import ConfigError

__all__ = ["EquivariantLinear", "EquivariantNorm", "Gate", "from_mul_ir", "spherical_irreps", "to_mul_ir"]

# added to mean squares, so that features near zero are scaled by 1/√ε at most, with finite derivatives
_EPSILON: Final = 1e-2


def spherical_irreps(l_max: int, *, pseudo: bool = False) -> o3.Irreps:
    """0e + 1o + 2e + … up to l_max, which harmonics have; with `pseudo` those of the other parity too, after them.

    >>> spherical_irreps(1, pseudo=True)
    1x0e+1x1o+1x0o+1x1e
    """
    natural = [(1, (l, (-1) ** l)) for l in range(l_max + 1)]
    return o3.Irreps(natural + [(1, (l, -p)) for _, (l, p) in natural] if pseudo else natural)


def to_mul_ir(features: Tensor, irreps: o3.Irreps) -> Tensor:
    """[N, C·K] in `mul_ir` layout, of features [N, K, C]: irrep after irrep, in each channel after channel."""
    return torch.cat([features[:, part].transpose(1, 2).flatten(1) for part in irreps.slices()], dim=1)


def from_mul_ir(features: Tensor, irreps: o3.Irreps, channels: int) -> Tensor:
    """[N, K, C] of features [N, C·K] in `mul_ir` layout; the inverse of `to_mul_ir`."""
    parts = features.split([channels * ir.dim for _, ir in irreps], dim=1)
    turned = [part.unflatten(1, (channels, ir.dim)) for part, (_, ir) in zip(parts, irreps, strict=True)]
    return torch.cat(turned, dim=2).transpose(1, 2)


class EquivariantLinear(nn.Module):
    """[..., K, outputs] of [..., K, inputs]: a matrix for each irrep, and a bias of the true scalars.

    As e3nn's `o3.Linear` between `inputs` and `outputs` copies of the same irreps; starts with variance kept.

    Args:
        irreps: of one channel, each once.
        inputs: channels.
        outputs: channels.
        bias: of `0e`.

    Raises:
        ConfigError: irreps that occur more than once, no channels.

    >>> EquivariantLinear("0e + 1o", 8, 16)(torch.randn(5, 4, 8)).shape
    torch.Size([5, 4, 16])
    """

    of: Tensor

    def __init__(self, irreps: o3.Irreps | str, inputs: int, outputs: int, *, bias: bool = True) -> None:
        super().__init__()
        if inputs < 1 or outputs < 1:
            raise ConfigError("a linear map without channels", where=f"inputs={inputs}, outputs={outputs}")
        self.irreps = _once(irreps)
        self.weight = nn.Parameter(torch.randn(len(self.irreps), inputs, outputs) / math.sqrt(inputs))
        self.scalar = _scalar(self.irreps)
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias and self.scalar is not None else None
        self.register_buffer("of", _irrep_of(self.irreps), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Of x [..., K, inputs]."""
        # channels side by side, as batches of matrix products want them
        rows = x.contiguous().reshape(-1, *x.shape[-2:]).transpose(0, 1)  # [K, N, C]
        weight = self.weight.index_select(0, self.of)  # [K, inputs, outputs]
        if self.bias is None or self.scalar is None:
            out = torch.bmm(rows, weight)
        else:
            shift = F.pad(self.bias[None], (0, 0, self.scalar, len(self.of) - self.scalar - 1))  # [K, outputs]
            out = torch.baddbmm(shift[:, None].to(rows.dtype), rows, weight)
        return out.transpose(0, 1).reshape(*x.shape[:-1], out.shape[2])


class Gate(nn.Module):
    """SiLU of the true scalars; every other irrep times a sigmoid of a linear map of them, for each channel.

    Weiler et al. 2018 (3D Steerable CNNs), sec. 4.3, as NequIP and e3nn use it. Exactly equivariant and smooth.

    Args:
        irreps: of one channel, with `0e`.
        channels: C.
    """

    of: Tensor

    def __init__(self, irreps: o3.Irreps | str, channels: int) -> None:
        super().__init__()
        self.irreps = _once(irreps)
        if _scalar(self.irreps) is None:
            raise ConfigError("a gate without scalars", where=str(self.irreps), expected="irreps with 0e")
        self.scalar = _scalar(self.irreps)
        others = len(self.irreps) - 1
        self.gates = nn.Linear(channels, channels * others) if others else None
        # the factor of the scalars themselves stands first
        order = [0 if ir == o3.Irrep("0e") else None for _, ir in self.irreps]
        numbers = iter(range(1, len(order)))
        place = torch.tensor([next(numbers) if number is None else number for number in order])
        self.register_buffer("of", place[_irrep_of(self.irreps)], persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """[..., K, C] of x [..., K, C]."""
        scalars = x[..., self.scalar, :]
        # SiLU(s) is s·sigmoid(s), so that scalars are gated by themselves
        gates = scalars if self.gates is None else torch.cat((scalars, self.gates(scalars).to(x.dtype)), dim=-1)
        factors = torch.sigmoid(gates).unflatten(-1, (len(self.irreps), x.shape[-1]))
        return x * factors.index_select(-2, self.of)


class EquivariantNorm(nn.Module):
    """[..., K, C] divided by √(mean square over components and channels + ε), with a weight per irrep and channel.

    Every irrep counts alike, whatever its degree. Smooth, also at zero; nothing is subtracted, so zero stays zero.

    Args:
        irreps: of one channel.
        channels: C.
    """

    of: Tensor
    share: Tensor

    def __init__(self, irreps: o3.Irreps | str, channels: int) -> None:
        super().__init__()
        self.irreps = _once(irreps)
        self.weight = nn.Parameter(torch.ones(len(self.irreps), channels))
        share = torch.cat([torch.full((ir.dim,), 1.0 / ir.dim) for _, ir in self.irreps])
        self.register_buffer("of", _irrep_of(self.irreps), persistent=False)
        self.register_buffer("share", share / len(self.irreps), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Of x [..., K, C]."""
        mean = (x.square().mean(-1) * self.share).sum(-1)  # [...]
        return x * torch.rsqrt(mean + _EPSILON)[..., None, None] * self.weight.index_select(0, self.of)


def _once(irreps: o3.Irreps | str) -> o3.Irreps:
    found = o3.Irreps(irreps)
    if not found or any(mul != 1 for mul, _ in found) or len({ir for _, ir in found}) < len(found):
        raise ConfigError(f"{irreps} are not irreps of one channel", expected="each once, like '0e + 1o + 2e'")
    return found


def _irrep_of(irreps: o3.Irreps) -> Tensor:
    return torch.tensor([i for i, (_, ir) in enumerate(irreps) for _ in range(ir.dim)])


def _scalar(irreps: o3.Irreps) -> int | None:
    """The component of the true scalar."""
    for (_, ir), part in zip(irreps, irreps.slices(), strict=True):
        if ir == o3.Irrep("0e"):
            return int(part.start)
    return None
