"""Numbers that follow from a text alone, so that no molecule depends on which others were made, nor in what order."""

from __future__ import annotations

import hashlib

import numpy as np

__all__ = ["fraction", "generator", "integer"]


def integer(*parts: object) -> int:
    """63 bits that follow from the parts."""
    text = "|".join(str(part) for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def fraction(*parts: object) -> float:
    """A number in [0, 1) that follows from the parts, uniform over them."""
    return integer(*parts) / 2**63


def generator(*parts: object) -> np.random.Generator:
    """A stream of random numbers that follows from the parts."""
    return np.random.default_rng(integer(*parts))
