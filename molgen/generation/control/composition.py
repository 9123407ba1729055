"""A fixed composition: read, and refused where no molecule has it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from molgen.chemistry.valences import CHARGED_VALENCES
from molgen.elements import NUMBERS, SYMBOLS
from molgen.errors import RequestError, nearest
from molgen.interfaces import Schema
from molgen.structures import hill_formula

__all__ = ["Composition"]

_PART: Final = re.compile(r"([A-Z][a-z]?)(\d*)")
_FORMULA: Final = re.compile(r"(?:[A-Z][a-z]?\d{0,6})+")
_ANY: Final = 8  # bonds of an element that the table of valences lacks


@dataclass(frozen=True)
class Composition:
    """How many atoms of each element."""

    counts: Mapping[int, int]  # atomic number: atoms, at least one

    @classmethod
    def read(cls, given: object, schema: Schema) -> Composition:
        """A composition that a model can make.

        Args:
            given: a formula ("C6H12O2"), or atoms by symbol (`{"C": 6, "H": 12, "O": 2}`).
            schema: of the model.

        Raises:
            RequestError: it can't be read; an element that the model doesn't know; no closed shell; more atoms than
                bonds can hold together.

        >>> Composition.read("CH4O", Schema(elements=(1, 6, 8), size_counts={6: 1})).formula
        'CH4O'
        """
        counts = _counts(given)
        unknown = [SYMBOLS[number] for number in counts if number not in schema.elements]
        if unknown:
            raise RequestError(
                f"the model knows no {', '.join(unknown)}",
                where="composition",
                expected=f"elements of {', '.join(SYMBOLS[number] for number in schema.elements)}",
            )
        composition = cls(counts)
        electrons = sum(number * count for number, count in counts.items())
        if electrons % 2:
            raise RequestError(
                f"{composition.formula} has {electrons} electrons, and an odd number closes no shell",
                where="composition",
                remedy="add or remove one hydrogen",
            )
        bonds = sum(_most_bonds(SYMBOLS[number]) * count for number, count in counts.items())
        if bonds < 2 * (composition.n_atoms - 1):
            raise RequestError(
                f"the atoms of {composition.formula} have too few bonds to hold together",
                where="composition",
                expected="a formula of one connected molecule",
            )
        return composition

    @property
    def n_atoms(self) -> int:
        """Atoms in all."""
        return sum(self.counts.values())

    @property
    def formula(self) -> str:
        """In Hill's order."""
        return hill_formula([number for number, count in self.counts.items() for _ in range(count)])

    def holds(self, part: Mapping[int, int]) -> bool:
        """Whether a part of a molecule can be a part of this one."""
        return all(self.counts.get(number, 0) >= count for number, count in part.items())

    def without(self, part: Mapping[int, int]) -> list[int]:
        """The atomic numbers of what a part leaves, each as often as it occurs."""
        return [number for number, count in self.counts.items() for _ in range(count - part.get(number, 0))]


def _most_bonds(symbol: str) -> int:
    """Of the neutral atom."""
    return max(CHARGED_VALENCES[symbol][0]) if symbol in CHARGED_VALENCES else _ANY


def _counts(given: object) -> dict[int, int]:
    expected = 'a formula such as "C6H12O2"'
    if isinstance(given, str):
        if _FORMULA.fullmatch(given.strip()) is None:
            raise RequestError(f"{given!r} is no formula", where="composition", expected=expected)
        parts = [(symbol, int(digits or 1)) for symbol, digits in _PART.findall(given)]
    elif isinstance(given, Mapping):
        parts = list(given.items())
    else:
        raise RequestError(f"a composition of {type(given).__name__}", where="composition", expected=expected)
    counts: dict[int, int] = {}
    for symbol, count in parts:
        if symbol not in NUMBERS:
            raise RequestError(
                f"there is no element {symbol!r}", where="composition", remedy=nearest(str(symbol), list(NUMBERS))
            )
        if not isinstance(count, int) or isinstance(count, bool) or count < 1:
            raise RequestError(f"{count!r} atoms of {symbol}", where="composition", expected="at least 1")
        counts[NUMBERS[symbol]] = counts.get(NUMBERS[symbol], 0) + count
    if not counts:
        raise RequestError("the composition is empty", where="composition", expected=expected)
    return counts
