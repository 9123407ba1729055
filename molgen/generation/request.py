"""What the user asks for, checked against what the model can give before the first step."""

from __future__ import annotations

import operator
import re
from collections.abc import Mapping
from typing import SupportsIndex

import torch
from torch import Tensor

from molgen.errors import RequestError
from molgen.interfaces import Schema
from molgen.random import Streams

__all__ = ["AtomCounts", "atom_limits", "check_count", "check_seed", "draw_sizes", "refuse_unsupported", "seen_range"]

AtomCounts = int | str | tuple[int, int] | None
"""Atoms per molecule: `18` or `"18"`, `(12, 20)` or `"12-20"` with both ends, or None for the data's histogram."""

_MAX_MOLECULES = 2**32  # Streams number the molecules of a run with 32 bits
_COUNTS = re.compile(r"\s*(\d{1,9})\s*(?:[-–]\s*(\d{1,9})\s*)?")

_LATER = {"targets": "property targets"}


def check_count(value: object, name: str) -> int:
    """`value` as an integer of at least one.

    Raises:
        RequestError: it is none.
    """
    number = _index(value, name)
    if number < 1:
        raise RequestError(f"{name} is {number}", expected="at least 1")
    if number > _MAX_MOLECULES:
        raise RequestError(f"{name} is {number}", expected=f"at most {_MAX_MOLECULES}")
    return number


def check_seed(value: object) -> int:
    """`value` as a seed of 64 bits, signed or not.

    Raises:
        RequestError: it is no integer, or too large.
    """
    seed = _index(value, "seed")
    if not -(2**63) <= seed < 2**64:
        raise RequestError(f"seed is {seed}", expected="an integer of 64 bits")
    return seed


def refuse_unsupported(**options: object) -> None:
    """Raise for every option of a request that this version can't meet yet.

    Args:
        **options: `targets`; None is "not asked for".

    Raises:
        RequestError: names the option.
    """
    for name, value in options.items():
        if value is not None:
            raise RequestError(
                f"{_LATER[name]} is not supported by this model and this version of molgen",
                where=name,
                remedy="leave it out",
            )


def seen_range(schema: Schema) -> str:
    """The atom counts of the data that a model was trained on, in words.

    >>> seen_range(Schema(elements=(1, 6), size_counts={3: 1, 5: 2}))
    '3 to 5 atoms'
    """
    sizes = _seen(schema)
    return f"{min(sizes)} to {max(sizes)} atoms"


def draw_sizes(schema: Schema, n: int, *, seed: int, n_atoms: AtomCounts = None, at_least: int = 1) -> Tensor:
    """[n] int64, the atom count of each molecule: a pure function of the seed and the molecule's index.

    Without `n_atoms` the counts follow the data's histogram; with a range, the part of the histogram inside it; and
    never fewer atoms than `at_least`, those of a substructure.

    Raises:
        RequestError: counts that the model has not seen, or that can't be read.

    >>> draw_sizes(Schema(elements=(1, 6), size_counts={3: 1, 5: 2}), 4, seed=0, n_atoms=5).tolist()
    [5, 5, 5, 5]
    """
    seen = _seen(schema)
    low, high = atom_limits(n_atoms) or (min(seen), max(seen))
    if low < min(seen) or high > max(seen):
        asked = f"{low}" if low == high else f"{low}-{high}"
        raise RequestError(
            f"molecules of {asked} atoms are outside what the model has seen",
            where="n_atoms",
            expected=seen_range(schema),
        )
    if high < at_least:
        raise RequestError(
            f"molecules of {high} atoms at most can't hold a substructure of {at_least}", where="n_atoms"
        )
    low = max(low, at_least)
    allowed = sorted(size for size in seen if low <= size <= high)
    if not allowed:
        nearby = (max(size for size in seen if size < low), min(size for size in seen if size > high))
        raise RequestError(
            f"the model has seen no molecule of {low}{'' if low == high else f' to {high}'} atoms",
            where="n_atoms",
            remedy=f"the nearest counts that it has seen are {' and '.join(map(str, nearby))}",
        )
    weights = torch.tensor([seen[size] for size in allowed], dtype=torch.float64)
    cumulative = torch.cumsum(weights, 0) / weights.sum()
    uniform = Streams(seed, torch.arange(n)).uniform("size", dtype=torch.float64)[:, 0]
    # the last bin ends at one only up to rounding
    chosen = torch.searchsorted(cumulative, uniform, right=True).clamp(max=len(allowed) - 1)
    return torch.tensor(allowed)[chosen]


def _seen(schema: Schema) -> Mapping[int, int]:
    seen = {size: count for size, count in schema.size_counts.items() if count > 0}
    if not seen:
        raise RequestError("the model does not say which atom counts it has seen", remedy="train it again")
    return seen


def atom_limits(n_atoms: object) -> tuple[int, int] | None:
    """The smallest and the largest atom count that is asked for, or None where nothing is.

    Raises:
        RequestError: they can't be read.

    >>> atom_limits("12-20"), atom_limits(18)
    ((12, 20), (18, 18))
    """
    if n_atoms is None:
        return None
    if isinstance(n_atoms, str):
        match = _COUNTS.fullmatch(n_atoms)
        if match is None:
            raise RequestError(
                f"atom counts can't be read from {n_atoms!r}", expected="a number (18) or a range (12-20)"
            )
        ends = [int(end) for end in match.groups() if end is not None]
    elif isinstance(n_atoms, tuple | list):
        if len(n_atoms) != 2:
            raise RequestError(f"n_atoms has {len(n_atoms)} numbers", expected="one number, or the two ends of a range")
        ends = [_index(end, "n_atoms") for end in n_atoms]
    else:
        ends = [_index(n_atoms, "n_atoms")]
    low, high = ends[0], ends[-1]
    if low < 1 or low > high:
        raise RequestError(
            f"atom counts from {low} to {high}", where="n_atoms", expected="1 or more, the smaller first"
        )
    return low, high


def _index(value: object, name: str) -> int:
    if isinstance(value, SupportsIndex) and not isinstance(value, bool):
        return operator.index(value)
    raise RequestError(f"{name} is {value!r}", expected="an integer")
