"""`Streams`: counter-based random numbers (Philox 4x32-10), one stream per molecule.

Every number is a pure function of (seed, index, step, purpose, element): the same on any device, in any batch, in any
number of processes, and with nothing to save for resuming. Salmon et al. 2011, "Parallel random numbers: as easy as
1, 2, 3", section 3.3.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["Streams", "philox"]

_MASK = 0xFFFFFFFF
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)
_ROUNDS = 10
_WORDS = 4  # 32-bit words that one counter gives


def philox(counter: Tensor, key: tuple[int, int]) -> Tensor:
    """Philox 4x32-10 of every counter.

    Args:
        counter: [..., 4] int64, each word in 0 … 2³²−1.
        key: two 32-bit words.

    Returns:
        [..., 4] int64, words in 0 … 2³²−1.
    """
    c0, c1, c2, c3 = counter.unbind(-1)
    k0, k1 = key
    for _ in range(_ROUNDS):
        high0, low0 = _multiply(c0, _MULTIPLIERS[0])
        high1, low1 = _multiply(c2, _MULTIPLIERS[1])
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0
        k0, k1 = (k0 + _WEYL[0]) & _MASK, (k1 + _WEYL[1]) & _MASK
    return torch.stack((c0, c1, c2, c3), dim=-1)


def _multiply(a: Tensor, b: int) -> tuple[Tensor, Tensor]:
    # int64 wraps around, so the low 64 bits are right, and the mask undoes the sign that >> drags along
    product = a * b
    return (product >> 32) & _MASK, product & _MASK


class Streams:
    """Random numbers for the molecules `indices` of a run with this `seed`.

    Args:
        seed: any integer of 64 bits.
        indices: [B] the number of each molecule in the whole run (not in the batch), 0 … 2³²−1.
        device: where the numbers are wanted.

    `counts` below says how many items of `width` numbers each molecule draws: `n_atoms` for per-atom numbers, ones
    for one item each. Items of all molecules follow each other, so per-atom draws line up with `Structures`.

    >>> a = Streams(0, [5, 9]).normal("noise", counts=[2, 3], width=3)
    >>> b = Streams(0, [9]).normal("noise", counts=[3], width=3)
    >>> a.shape, bool((a[2:] == b).all())
    (torch.Size([5, 3]), True)
    """

    def __init__(self, seed: int, indices: Tensor | Sequence[int], device: torch.device | str = "cpu") -> None:
        self.seed = int(seed)
        self.indices = torch.as_tensor(indices, dtype=torch.int64, device=device)
        self.device = self.indices.device

    def __len__(self) -> int:
        return len(self.indices)

    def select(self, keep: Tensor | Sequence[int]) -> Streams:
        """The streams of some of the molecules."""
        return Streams(self.seed, self.indices[torch.as_tensor(keep, device=self.device)], self.device)

    def words(
        self, purpose: str, *, step: int = 0, counts: Tensor | Sequence[int] | None = None, width: int = 1
    ) -> Tensor:
        """[sum(counts), width] int64, uniform on 0 … 2³²−1."""
        if counts is None:
            counts = torch.ones_like(self.indices)
        counts = torch.as_tensor(counts, dtype=torch.int64, device=self.device)
        total = int(counts.sum())
        owner = torch.repeat_interleave(self.indices, counts, output_size=total)  # [items]
        start = torch.repeat_interleave(torch.cumsum(counts, 0) - counts, counts, output_size=total)
        item = torch.arange(total, device=self.device) - start  # [items] within its molecule
        blocks = -(-width // _WORDS)
        block = item[:, None] * blocks + torch.arange(blocks, device=self.device)  # [items, blocks]
        counter = torch.stack(
            torch.broadcast_tensors(
                block,
                torch.tensor(step & _MASK, device=self.device),
                torch.tensor(zlib.crc32(purpose.encode()), device=self.device),
                owner[:, None],
            ),
            dim=-1,
        )
        words = philox(counter, (self.seed & _MASK, (self.seed >> 32) & _MASK))  # [items, blocks, 4]
        return words.reshape(total, blocks * _WORDS)[:, :width]

    def uniform(
        self,
        purpose: str,
        *,
        step: int = 0,
        counts: Tensor | Sequence[int] | None = None,
        width: int = 1,
        dtype: torch.dtype = torch.float32,
    ) -> Tensor:
        """[sum(counts), width] uniform on the open interval (0, 1)."""
        words = self.words(purpose, step=step, counts=counts, width=width)
        if dtype == torch.float64:
            return (words.to(torch.float64) + 0.5) / 2.0**32
        # 24 bits fill a float32's mantissa; the half keeps both ends out
        return ((words >> 9).to(torch.float32) + 0.5) / 2.0**23

    def normal(
        self,
        purpose: str,
        *,
        step: int = 0,
        counts: Tensor | Sequence[int] | None = None,
        width: int = 1,
        dtype: torch.dtype = torch.float32,
    ) -> Tensor:
        """[sum(counts), width] standard normal (Box–Muller in float64, so that every device rounds alike)."""
        pairs = -(-width // 2)
        u = self.uniform(purpose, step=step, counts=counts, width=2 * pairs, dtype=torch.float64)
        radius = torch.sqrt(-2.0 * torch.log(u[:, :pairs]))
        angle = 2.0 * math.pi * u[:, pairs:]
        normal = torch.cat((radius * torch.cos(angle), radius * torch.sin(angle)), dim=1)
        return normal[:, :width].to(dtype)
