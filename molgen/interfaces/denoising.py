"""What samplers and generator networks say to each other: a batch under noise, and what is believed behind it."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from molgen.structures import Structures

__all__ = ["Denoised", "Noisy"]


@dataclass(frozen=True, eq=False)
class Noisy:
    """A batch under noise."""

    structures: Structures  # positions x̃ [N, 3] Å without centre of mass; species are not read
    species: Tensor  # [N, V] (gaussian codec) or [N] int64 (masked codec)
    sigma: Tensor  # [B] Å


@dataclass(frozen=True, eq=False)
class Denoised:
    """What a network believes of the clean batch."""

    positions: Tensor  # [N, 3] Å, posterior mean, without centre of mass
    species: Tensor  # [N, V] posterior mean of the one-hot
    logits: Tensor  # [N, V] of the elements
