"""Which channel of one side meets which of the other, and the copies that it takes where multiplicities differ."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from e3nn import o3
from torch import Tensor

from molgen.errors import ConfigError

__all__ = ["Channels", "channels", "crop_index", "gather", "joined", "pad_index"]


@dataclass(frozen=True)
class Channels:
    """Three sides with the same channels.

    Args:
        count: C, the channels of the product.
        irreps1: C × each irrep of the first input, or 1 × each where it is broadcast.
        irreps2: of the second input likewise.
        irreps_out: C × each irrep of the output.
        broadcast: whether the one function of the first, of the second input meets all channels.
    """

    count: int
    irreps1: o3.Irreps
    irreps2: o3.Irreps
    irreps_out: o3.Irreps
    broadcast: tuple[bool, bool]


def joined(irreps: o3.Irreps) -> dict[o3.Irrep, int]:
    """Channels of each irrep, in order of first appearance.

    >>> {str(ir): n for ir, n in joined(o3.Irreps("2x0e + 1o + 3x0e")).items()}
    {'0e': 5, '1o': 1}
    """
    found: dict[o3.Irrep, int] = {}
    for multiplicity, ir in irreps:
        if multiplicity:
            found[ir] = found.get(ir, 0) + multiplicity
    return found


def channels(irreps1: o3.Irreps, irreps2: o3.Irreps, irreps_out: o3.Irreps, *, mixed: bool = False) -> Channels:
    """The channels of three sides; `mixed`: linear layers make C of each, and nothing is broadcast.

    Raises:
        ConfigError: an output with more channels than the inputs have.
    """
    sides = [joined(irreps) for irreps in (irreps1, irreps2, irreps_out)]
    widths = [max(side.values()) for side in sides]
    count = max(widths) if mixed else max(widths[:2])
    if widths[2] > count:
        raise ConfigError(
            f"{irreps_out} has {widths[2]} channels, and the inputs {irreps1} and {irreps2} have {count}",
            where="irreps_out",
            expected=f"at most {count}",
            remedy="set mode: fully-connected",
        )
    broadcast = tuple(not mixed and width == 1 < count for width in widths[:2])
    regular = [o3.Irreps([(count, ir) for ir in side]) for side in sides]
    for place in (0, 1):
        if broadcast[place]:
            regular[place] = o3.Irreps([(1, ir) for ir in sides[place]])
    return Channels(count, regular[0], regular[1], regular[2], (broadcast[0], broadcast[1]))


def pad_index(irreps: o3.Irreps, layout: Channels, side: int) -> Tensor | None:
    """Where each component of the regular side 0 or 1 stands in an input; irreps.dim stands for zero.

    None where the input is regular already.
    """
    regular = (layout.irreps1, layout.irreps2)[side]
    starts = _starts(irreps)
    index: list[int] = []
    for multiplicity, ir in regular:
        for start in starts[ir]:
            index += range(start, start + ir.dim)
        index += [irreps.dim] * ((multiplicity - len(starts[ir])) * ir.dim)
    return _unless_trivial(index, irreps.dim)


def crop_index(irreps_out: o3.Irreps, layout: Channels) -> Tensor | None:
    """Where each component of the output stands in the regular output; None where it is regular already."""
    starts, used = _starts(layout.irreps_out), dict.fromkeys(joined(irreps_out), 0)
    index: list[int] = []
    for multiplicity, ir in irreps_out:
        for _ in range(multiplicity):
            start = starts[ir][used[ir]]
            index += range(start, start + ir.dim)
            used[ir] += 1
    return _unless_trivial(index, layout.irreps_out.dim)


def gather(x: Tensor, index: Tensor | None) -> Tensor:
    """x [..., D] at an index [K] of its last dimension, where D stands for zero; x itself for None."""
    if index is None:
        return x
    return torch.nn.functional.pad(x, (0, 1))[..., index]


def _starts(irreps: o3.Irreps) -> dict[o3.Irrep, list[int]]:
    """Where each channel of an irrep begins."""
    found: dict[o3.Irrep, list[int]] = {}
    start = 0
    for multiplicity, ir in irreps:
        for _ in range(multiplicity):
            found.setdefault(ir, []).append(start)
            start += ir.dim
    return found


def _unless_trivial(index: list[int], size: int) -> Tensor | None:
    return None if index == list(range(size)) else torch.tensor(index)
