"""One round: atoms look at each other, pairs bias where they look, vectors say where the others stand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn

from molgen.neighbors import safe_norm
from molgen.nn import ExponentialBasis
from molgen_pair_attention.config import PairAttentionConfig

__all__ = ["RADIAL", "Layer", "State"]

RADIAL: Final = 16  # functions of a pair's length, in the unit of the vectors


@dataclass(frozen=True, eq=False)
class State:
    """What is known of B structures of n atoms between two layers; C, P, V channels of atoms, pairs, vectors."""

    scalars: Tensor  # [B, n, C]
    vectors: Tensor  # [B, n, 3, V]
    moved: Tensor  # [B, n, 3] displacement so far, in the unit of the graph's vectors
    pairs: Tensor  # [B, n, n, P], receiver first


class Layer(nn.Module):
    """Attention, vectors, a layer between, and new features of pairs.

    Args:
        config: widths.
        average_neighbors: what sums over all others are divided by.
        last: whether nothing reads the pairs any more.
    """

    def __init__(self, config: PairAttentionConfig, average_neighbors: float, *, last: bool) -> None:
        super().__init__()
        c, p, v, self.heads = config.channels, config.pair_channels, config.vector_channels, config.heads
        self.average_neighbors, self.update_positions = average_neighbors, config.update_positions
        self.norm = nn.LayerNorm(c)
        self.norm_pairs = nn.LayerNorm(p)
        self.look = nn.Linear(c, 3 * c)  # what an atom asks, answers to, and tells
        self.of_pairs = nn.Linear(p, config.heads + v)  # bias of each head, and weights of the directions
        self.mix = nn.Linear(v, 2 * v, bias=False)  # of vectors; two, whose products are scalars
        self.gather = nn.Linear(c + config.heads * p + 2 * v, c)
        self.between = nn.Sequential(
            nn.LayerNorm(c), nn.Linear(c, config.widening * c), nn.SiLU(), nn.Linear(config.widening * c, c + v)
        )
        self.displace = nn.Linear(v, 1, bias=False)
        nn.init.normal_(self.displace.weight, std=1e-2)  # starts near the identity
        self.pair_update = None if last else _PairUpdate(config)

    def forward(self, state: State, directions: Tensor, seen: Tensor | None) -> State:
        """The state after a round.

        Args:
            state: before.
            directions: [B, n, n, 3] from receiver to sender, where the atoms stood at first.
            seen: [B, 1, 1, n], atoms that may be looked at; None for all.
        """
        h, dtype = self.norm(state.scalars), directions.dtype
        pairs = self.norm_pairs(state.pairs)
        bias, weights = self.of_pairs(pairs).split((self.heads, state.vectors.shape[-1]), dim=-1)
        share, told = self._attend(h, bias, seen)  # [B, H, n, n], [B, n, C]
        of_pairs = torch.einsum("bhij,bijp->bihp", share, pairs.to(share.dtype)).flatten(2)  # [B, n, H·P]
        since = directions
        if self.update_positions:
            since = directions + (state.moved[:, None] - state.moved[:, :, None])
        with torch.autocast(directions.device.type, enabled=False):
            vectors = state.vectors + self._seen_vectors(since, weights.to(dtype), share.to(dtype), state.vectors, seen)
            one, two = (vectors @ self.mix.weight.T).chunk(2, dim=-1)  # [B, n, 3, V] each
            products = _bounded(torch.cat(((one * two).sum(2), vectors.square().sum(2)), dim=-1))  # [B, n, 2V]
        scalars = state.scalars + self.gather(torch.cat((told, of_pairs, products.to(told.dtype)), dim=-1))
        change, gates = self.between(scalars).split((scalars.shape[-1], vectors.shape[-1]), dim=-1)
        scalars = scalars + change
        with torch.autocast(directions.device.type, enabled=False):
            vectors = vectors + torch.tanh(gates.to(dtype))[:, :, None] * one
            moved = state.moved + (vectors @ self.displace.weight.T)[..., 0]
        if self.pair_update is None:
            return State(scalars, vectors, moved, state.pairs)
        return State(scalars, vectors, moved, self.pair_update(pairs, state.pairs, scalars, vectors, moved, directions))

    def _attend(self, h: Tensor, bias: Tensor, seen: Tensor | None) -> tuple[Tensor, Tensor]:
        """Shares [B, H, n, n] that sum to 1 over the senders, and what is told by them [B, n, C]."""
        query, key, value = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in self.look(h).chunk(3, -1))
        logits = query @ key.transpose(2, 3) / query.shape[-1] ** 0.5 + bias.permute(0, 3, 1, 2)  # [B, H, n, n]
        if seen is not None:
            logits = logits.masked_fill(~seen, torch.finfo(logits.dtype).min)  # finite: some rows see nobody
        share = torch.softmax(logits, dim=-1)
        return share, (share.to(value.dtype) @ value).transpose(1, 2).flatten(2)

    def _seen_vectors(
        self, since: Tensor, weights: Tensor, share: Tensor, vectors: Tensor, seen: Tensor | None
    ) -> Tensor:
        """[B, n, 3, V]: where the others stand, weighed by pair, and the vectors that they carry, by attention."""
        # far atoms count as directions, near ones as vectors, so that all is smooth where two coincide
        near = since / (1.0 + safe_norm(since))[..., None]  # [B, n, n, 3]
        if seen is not None:
            near = near * seen[:, 0, :, :, None]
        stand = near.transpose(2, 3) @ weights / self.average_neighbors  # [B, n, 3, V]
        carried = share.mean(1) @ vectors.flatten(2)  # [B, n, 3·V]
        return stand + carried.view_as(vectors)


class _PairUpdate(nn.Module):
    """New features of each pair, of the old ones, both atoms, their vectors and the length between them."""

    def __init__(self, config: PairAttentionConfig) -> None:
        super().__init__()
        c, p, v = config.channels, config.pair_channels, config.vector_channels
        hidden = config.widening * p
        self.basis = ExponentialBasis(RADIAL)
        self.from_pair = nn.Linear(p + RADIAL + v, hidden)
        self.from_atoms = nn.Linear(c, 2 * hidden, bias=False)  # as receiver and as sender
        self.update = nn.Linear(hidden, p)

    def forward(
        self, normed: Tensor, pairs: Tensor, scalars: Tensor, vectors: Tensor, moved: Tensor, directions: Tensor
    ) -> Tensor:
        """[B, n, n, P]; `normed` are the pairs that `from_pair` reads, `pairs` those that are added to."""
        with torch.autocast(directions.device.type, enabled=False):
            lengths = safe_norm(directions + (moved[:, None] - moved[:, :, None]))  # [B, n, n]
            radial = self.basis(lengths)
            turned = vectors.permute(0, 3, 1, 2)  # [B, V, n, 3]
            products = _bounded(turned @ turned.transpose(2, 3)).permute(0, 2, 3, 1)  # [B, n, n, V]
        known = torch.cat((normed, radial.to(normed.dtype), products.to(normed.dtype)), dim=-1)
        receiver, sender = self.from_atoms(scalars).chunk(2, dim=-1)
        hidden = self.from_pair(known) + receiver[:, :, None] + sender[:, None]
        return pairs + self.update(nn.functional.silu(hidden))


def _bounded(x: Tensor) -> Tensor:
    """[...] between −1 and 1, whatever vectors grow to."""
    return x * torch.rsqrt(1.0 + x.square())
