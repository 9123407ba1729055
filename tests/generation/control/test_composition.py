"""Compositions: what is read, and what is refused."""

from __future__ import annotations

import pytest

from molgen.errors import RequestError
from molgen.generation.control import Composition
from molgen.interfaces import Schema

SCHEMA = Schema(elements=(1, 6, 7, 8), size_counts={6: 1})


@pytest.mark.parametrize(
    ("given", "formula"),
    [
        ("CH4O", "CH4O"),
        (" OCH4 ", "CH4O"),
        ("CH3CH2OH", "C2H6O"),
        ({"N": 1, "H": 3}, "H3N"),
        ("C6H12O2", "C6H12O2"),
    ],
)
def test_formulas_are_read_in_any_order(given, formula):
    composition = Composition.read(given, SCHEMA)
    assert composition.formula == formula
    assert composition.n_atoms == sum(composition.counts.values())


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("", "is no formula"),
        ("c6h6", "is no formula"),
        ("C6-H6", "is no formula"),
        ("C-1", "is no formula"),
        ("C0H4", "0 atoms of C"),
        ({"C": 1.5}, "1.5 atoms of C"),
        ({}, "is empty"),
        (7, "composition of int"),
        ("Xy2", "no element 'Xy'"),
        ("CH3F", "the model knows no F; expected elements of H, C, N, O|the model knows no F"),
        ("CH3", "9 electrons, and an odd number closes no shell"),
        ("C2H8", "too few bonds"),
    ],
)
def test_what_no_molecule_has_is_refused_with_its_reason(given, words):
    with pytest.raises(RequestError, match=words):
        Composition.read(given, SCHEMA)


def test_what_a_part_leaves_is_the_rest():
    composition = Composition.read("C2H6O", SCHEMA)
    assert composition.holds({6: 2})
    assert not composition.holds({7: 1})
    assert sorted(composition.without({6: 1, 8: 1})) == [1] * 6 + [6]
