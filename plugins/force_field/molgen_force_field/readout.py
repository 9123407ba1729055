"""What heads read of an encoder's features: networks on invariants, and vectors that they weigh."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

import torch
from e3nn import o3
from torch import Tensor, nn

from molgen.errors import ConfigError, InputError

__all__ = ["Part", "ScalarReadout", "VectorReadout"]

# SiLU's of numbers of unit variance have about this mean square
_SILU_SQUARE: Final = 0.355

_WORDS: Final = {"0e": "invariants", "1o": "vectors"}


class Part:
    """Every channel of one irrep within features [N, irreps.dim] in `mul_ir` layout.

    Args:
        irreps: of the features.
        ir: the irrep to take.

    Raises:
        ConfigError: irreps that can't be read.

    >>> part = Part("2x0e + 1x1o + 1x0e", "0e")
    >>> part.channels, part.of(torch.tensor([[1.0, 2.0, 0.0, 0.0, 0.0, 3.0]])).tolist()
    (3, [[1.0, 2.0, 3.0]])
    """

    def __init__(self, irreps: o3.Irreps | str, ir: str) -> None:
        try:
            self.irreps = o3.Irreps(irreps)
        except (ValueError, AssertionError) as error:
            raise ConfigError(f"{irreps!r} are no irreps", where="irreps", expected="e.g. 64x0e + 64x1o") from error
        wanted = o3.Irrep(ir)
        slices = self.irreps.slices()
        self._places = [place for (_, has), place in zip(self.irreps, slices, strict=True) if has == wanted]
        self.channels = sum(place.stop - place.start for place in self._places) // wanted.dim

    def of(self, nodes: Tensor) -> Tensor:
        """[N, channels · dim] of nodes [N, irreps.dim].

        Raises:
            InputError: features of another width.
        """
        if nodes.shape[1:] != (self.irreps.dim,):
            raise InputError(
                f"features have shape {tuple(nodes.shape)}",
                where="features.nodes",
                expected=f"[N, {self.irreps.dim}], for {self.irreps}",
            )
        parts = [nodes[:, place] for place in self._places]
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)

    def needed_by(self, head: str, ir: str) -> None:
        """Refuse irreps without a single channel of it.

        Raises:
            ConfigError: names the head, and what the encoder gives.
        """
        if not self.channels:
            raise ConfigError(
                f"the head {head!r} reads {_WORDS[ir]}, and the encoder gives {self.irreps}",
                where="irreps",
                expected=f"some {ir}",
                remedy=f"choose an encoder that gives {ir}, or options with which it does",
            )


class ScalarReadout(nn.Module):
    """A network of the invariants of each atom: [N, outputs] of features [N, irreps.dim].

    Linear layers with SiLU between them, which has derivatives of every order. Fresh layers keep the variance, and the
    last one makes of features of unit size outputs of about `size`: small beside what is known beforehand, and not
    zero.

    Args:
        irreps: of the features, with `0e`.
        hidden: widths of the hidden layers.
        outputs: numbers per atom.
        size: root mean square of the fresh network's outputs.
        head: name of the head, for messages.

    Raises:
        ConfigError: irreps without `0e`.
    """

    def __init__(
        self, irreps: o3.Irreps | str, hidden: Sequence[int], outputs: int = 1, *, size: float = 0.1, head: str
    ) -> None:
        super().__init__()
        self._invariants = Part(irreps, "0e")
        self._invariants.needed_by(head, "0e")
        widths, square = [self._invariants.channels, *hidden], 1.0
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [_linear(before, after, 1 / math.sqrt(before * square)), nn.SiLU()]
            square = _SILU_SQUARE
        self.last = _linear(widths[-1], outputs, size / math.sqrt(widths[-1] * square))
        self.hidden = nn.Sequential(*layers)

    def forward(self, nodes: Tensor) -> Tensor:
        """Of nodes [N, irreps.dim].

        Raises:
            InputError: features of another width, or of another dtype than the weights.
        """
        x, weights = self._invariants.of(nodes), self.last.weight.dtype
        if x.dtype != weights and not torch.is_autocast_enabled(x.device.type):
            raise InputError(
                f"features are {x.dtype}, and the head's weights {weights}",
                where="features.nodes",
                remedy="convert encoder and heads together",
            )
        out: Tensor = self.last(self.hidden(x))
        return out


class VectorReadout(nn.Module):
    """One vector per atom: [N, 3], Σ_c g_c(s) v_c of the invariants s and the vectors v of an atom.

    The gates g are a network of the invariants with a bias, so that a plain linear mix of the vectors is among what it
    can learn. As the last gated block of Schütt, Unke, Gastegger 2021 (arXiv:2102.03150), without a mix before it.

    Args:
        irreps: of the features, with `0e` and `1o`.
        hidden: widths of the hidden layers of the gates.
        size: root mean square of a component of the fresh output, for features of unit size.
        head: name of the head, for messages.

    Raises:
        ConfigError: irreps without `0e` or without `1o`.
    """

    def __init__(self, irreps: o3.Irreps | str, hidden: Sequence[int], *, size: float = 0.1, head: str) -> None:
        super().__init__()
        self._vectors = Part(irreps, "1o")
        self._vectors.needed_by(head, "1o")
        channels = self._vectors.channels
        each = size / math.sqrt(2 * channels)  # half the variance from the bias, half from the invariants
        self.gates = ScalarReadout(irreps, hidden, channels, size=each, head=head)
        nn.init.normal_(self.gates.last.bias, std=each)

    def forward(self, nodes: Tensor) -> Tensor:
        """Of nodes [N, irreps.dim]; raises as :class:`ScalarReadout`."""
        gates = self.gates(nodes)  # [N, C]
        vectors = self._vectors.of(nodes).unflatten(1, (gates.shape[1], 3))  # [N, C, 3]
        return (gates[..., None] * vectors).sum(1)


def _linear(inputs: int, outputs: int, deviation: float) -> nn.Linear:
    layer = nn.Linear(inputs, outputs)
    nn.init.normal_(layer.weight, std=deviation)
    nn.init.zeros_(layer.bias)
    return layer
