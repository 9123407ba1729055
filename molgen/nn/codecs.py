"""Discrete parts under noise: how an element becomes something that noise can blur, and comes back.

A part is a code 0 … V−1 per atom. `GaussianCodec` noises the scaled one-hot like a coordinate (Hoogeboom et al. 2022,
section 3.2); `MaskedCodec` hides codes with a probability that grows with σ.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from molgen.random import Streams

__all__ = ["GaussianCodec", "MaskedCodec"]


class GaussianCodec:
    """State [N, V]: scale · one-hot + σ · ε, for V = `size` codes and `scale` in Å of noise."""

    def __init__(self, size: int, scale: float) -> None:
        self.scale, self.size = scale, size
        self.inputs = size
        # root mean square of a one-hot's entry, the σ_data of this part
        self.sigma_data = self.scale / math.sqrt(size)

    def corrupt(self, codes: Tensor, sigma: Tensor, counts: Tensor, streams: Streams, purpose: str) -> Tensor:
        """[N, V] noisy state of codes [N] at σ [N]."""
        noise = streams.normal(purpose, counts=counts, width=self.size, dtype=sigma.dtype)
        return self.encode(codes, sigma.dtype) + sigma[:, None] * noise

    def encode(self, codes: Tensor, dtype: torch.dtype) -> Tensor:
        """[N, V] clean state."""
        return self.scale * F.one_hot(codes, self.size).to(dtype)

    def prior(self, sigma: Tensor, counts: Tensor, streams: Streams, purpose: str) -> Tensor:
        """[N, V] state at the largest σ [N]: noise alone."""
        return sigma[:, None] * streams.normal(purpose, counts=counts, width=self.size, dtype=sigma.dtype)

    def features(self, state: Tensor, sigma: Tensor) -> Tensor:
        """[N, V] network input of unit variance."""
        return state / torch.sqrt(sigma.square() + self.sigma_data**2)[:, None]

    def likelihood(self, state: Tensor, sigma: Tensor) -> Tensor:
        """[N, V] ln p(state | code) up to a constant: by Bayes' rule it adds to the logits of the context."""
        return self.scale * state / sigma.square()[:, None]

    def decode(self, state: Tensor) -> Tensor:
        """[N] codes of a state at σ → 0."""
        return state.argmax(dim=1)


class MaskedCodec:
    """State [N] int64: the code, or V = `size` where it is hidden; nothing hides below σ = `a` Å, all above `b` Å."""

    def __init__(self, size: int, a: float, b: float) -> None:
        self.log_a, self.log_b, self.size = math.log(a), math.log(b), size
        self.inputs = size + 1

    def hidden_fraction(self, sigma: Tensor) -> Tensor:
        """[...] m(σ) = clip((ln σ − ln a)/(ln b − ln a), 0, 1); 0 at σ = 0."""
        return ((torch.log(sigma) - self.log_a) / (self.log_b - self.log_a)).clamp(0.0, 1.0)

    def corrupt(self, codes: Tensor, sigma: Tensor, counts: Tensor, streams: Streams, purpose: str) -> Tensor:
        """[N] state of codes [N] at σ [N]."""
        u = streams.uniform(purpose, counts=counts, dtype=sigma.dtype)[:, 0]
        return torch.where(u < self.hidden_fraction(sigma), torch.full_like(codes, self.size), codes)

    def prior(self, sigma: Tensor, counts: Tensor, streams: Streams, purpose: str) -> Tensor:
        """[N] state at the largest σ [N]: all hidden."""
        return torch.full(sigma.shape, self.size, dtype=torch.int64, device=sigma.device)

    def features(self, state: Tensor, sigma: Tensor) -> Tensor:
        """[N, V + 1] one-hot of the code or of "hidden"."""
        return F.one_hot(state, self.size + 1).to(sigma.dtype)

    def likelihood(self, state: Tensor, sigma: Tensor) -> Tensor:
        """[N, V] ln p(state | code): a code that shows is certain, one that is hidden says nothing."""
        shown = state < self.size
        certain = F.one_hot(state.clamp_max(self.size - 1), self.size).to(sigma.dtype)
        return torch.where(shown[:, None], 1e4 * (certain - 1.0), torch.zeros_like(certain))

    def decode(self, state: Tensor) -> Tensor:
        """[N] codes of a state that hides nothing any more."""
        return state
