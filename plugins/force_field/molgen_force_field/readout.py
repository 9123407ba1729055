"""Which features of an encoder a head reads, and the network on its invariants."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

import torch
from e3nn import o3
from torch import Tensor, nn

from molgen.errors import ConfigError

__all__ = ["Part", "Readout", "scalar_network"]

# SiLU's of numbers of unit variance have about this mean square
_SILU_SQUARE: Final = 0.355


class Part:
    """Every channel of one irrep within features [N, irreps.dim] in `mul_ir` layout.

    Args:
        irreps: of the features.
        ir: the irrep to take.

    >>> part = Part(o3.Irreps("2x0e + 1x1o + 1x0e"), "0e")
    >>> part.channels, part.of(torch.tensor([[1.0, 2.0, 0.0, 0.0, 0.0, 3.0]])).tolist()
    (3, [[1.0, 2.0, 3.0]])
    """

    def __init__(self, irreps: o3.Irreps, ir: str) -> None:
        wanted = o3.Irrep(ir)
        self.slices = [place for (_, ir), place in zip(irreps, irreps.slices(), strict=True) if ir == wanted]
        self.channels = sum(place.stop - place.start for place in self.slices) // wanted.dim

    def of(self, nodes: Tensor) -> Tensor:
        """[N, channels · dim] of nodes [N, irreps.dim]."""
        parts = [nodes[:, place] for place in self.slices]
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)


class Readout(nn.Module):
    """A network of the invariants of each atom: [N, outputs] of features [N, irreps.dim].

    Linear layers with SiLU between them, so that it has derivatives of every order. The last layer starts small, since
    what it gives is added to what is known beforehand.

    Args:
        irreps: of the features, with `0e`.
        hidden: widths of the hidden layers.
        outputs: numbers per atom.
        size: about the root mean square of the fresh network's outputs, for features of about unit size.
        head: name of the head, for messages.

    Raises:
        ConfigError: irreps without `0e`.
    """

    def __init__(
        self, irreps: o3.Irreps, hidden: Sequence[int], outputs: int = 1, *, size: float = 0.1, head: str
    ) -> None:
        super().__init__()
        self._invariants = Part(irreps, "0e")
        if not self._invariants.channels:
            raise ConfigError(
                f"the head {head!r} reads invariants, and the encoder gives {irreps}",
                where="irreps",
                expected="some 0e",
                remedy="choose an encoder with 0e features, or options that give it some",
            )
        self.network = scalar_network(self._invariants.channels, hidden, outputs, size=size)

    def forward(self, nodes: Tensor) -> Tensor:
        """Of nodes [N, irreps.dim]."""
        out: Tensor = self.network(self._invariants.of(nodes))
        return out


def scalar_network(inputs: int, hidden: Sequence[int], outputs: int, *, size: float) -> nn.Sequential:
    """Linear layers with SiLU between them, [..., outputs] of [..., inputs].

    Fresh layers keep the variance, and the last one makes of inputs of unit size outputs of about `size`.
    """
    widths, square = [inputs, *hidden], 1.0
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [_linear(before, after, 1 / math.sqrt(before * square)), nn.SiLU()]
        square = _SILU_SQUARE
    return nn.Sequential(*layers, _linear(widths[-1], outputs, size / math.sqrt(widths[-1] * square)))


def _linear(inputs: int, outputs: int, deviation: float) -> nn.Linear:
    layer = nn.Linear(inputs, outputs)
    nn.init.normal_(layer.weight, std=deviation)
    nn.init.zeros_(layer.bias)
    return layer
