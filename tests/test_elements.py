"""Symbols and numbers, against ASE's table."""

from __future__ import annotations

import pytest
from ase.data import chemical_symbols

from molgen.elements import NUMBERS, SYMBOLS, number_of
from molgen.errors import StructureError


def test_symbols_are_those_of_ase() -> None:
    assert list(SYMBOLS) == chemical_symbols


def test_every_symbol_finds_its_number() -> None:
    assert all(number_of(SYMBOLS[number]) == number for number in range(1, 119))
    assert "X" not in NUMBERS


@pytest.mark.parametrize("symbol", ["X", "c", "", "Xx"])
def test_what_is_no_element_is_refused_by_name(symbol: str) -> None:
    with pytest.raises(StructureError, match=f"unknown element '{symbol}'"):
        number_of(symbol)
