"""Which irreps the features of a network have, layer by layer."""

from __future__ import annotations

import torch
from e3nn import o3
from torch import Tensor

from molgen.nn import spherical_irreps
from molgen_gaunt.form import natural, strengths

__all__ = ["aligned", "copies", "gathered_irreps", "hidden_irreps", "irreps_after"]


def aligned(x: Tensor, irreps_in: o3.Irreps, irreps_out: o3.Irreps) -> Tensor:
    """[N, K_out, C] of x [N, K_in, C]: what both irreps of one channel have, and zero for the rest of the output."""
    there = {ir: part for (_, ir), part in zip(irreps_in, irreps_in.slices(), strict=True)}
    zeros = x.new_zeros(len(x), 1, x.shape[2])
    parts = [x[:, there[ir]] if ir in there else zeros.expand(-1, ir.dim, -1) for _, ir in irreps_out]
    return torch.cat(parts, dim=1)


def copies(irreps: o3.Irreps, channels: int) -> o3.Irreps:
    """As many channels of each irrep of one channel."""
    return o3.Irreps([(channels, ir) for _, ir in irreps])


def gathered_irreps(irreps_in: o3.Irreps, l_max: int, *, full: bool) -> o3.Irreps:
    """Irreps up to l_max that products with harmonics up to l_max make; pseudotensors only where `full`.

    >>> gathered_irreps(o3.Irreps("0e + 1o"), 1, full=True)
    1x0e+1x1o+1x1e
    """
    found: set[o3.Irrep] = set()
    for odd in (False, True) if full else (False,):
        table = strengths((irreps_in.lmax, l_max, l_max), odd=odd)
        for _, ir in irreps_in:
            for l in range(l_max + 1):
                parity = ir.p * (-1) ** l
                found |= {o3.Irrep(l3, parity) for l3 in range(l_max + 1) if table[ir.l, l, l3]}
    return o3.Irreps([(1, ir) for _, ir in spherical_irreps(l_max, pseudo=True) if ir in found])


def hidden_irreps(gathered: o3.Irreps, l_hidden: int, correlation: int) -> o3.Irreps:
    """Irreps up to l_hidden of powers; with true tensors a pseudotensor has every degree, alone its own."""
    pseudo = [ir for _, ir in gathered if not natural(ir.l, ir.p)]
    every = spherical_irreps(l_hidden, pseudo=bool(pseudo))
    return o3.Irreps([(1, ir) for _, ir in every if correlation > 1 or natural(ir.l, ir.p) or ir in pseudo])


def irreps_after(layers: int, l_max: int, l_hidden: int, correlation: int, *, full: bool) -> o3.Irreps:
    """Of the node features behind the last layer.

    >>> irreps_after(2, 2, 1, 3, full=True)
    1x0e+1x1o+1x0o+1x1e
    """
    irreps = o3.Irreps("0e")
    for _ in range(layers):
        irreps = hidden_irreps(gathered_irreps(irreps, l_max, full=full), l_hidden, correlation)
    return irreps
