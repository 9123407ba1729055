"""Bond lengths and counts of elements and sizes, beside counting by hand."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from molgen.chemistry.geometry import bond_lengths, element_counts, size_counts
from molgen.chemistry.stability import d1
from molgen.elements import SYMBOLS
from molgen.structures import Structures


def test_every_bond_of_the_table_is_measured_once_under_its_pair(real):
    expected: dict[frozenset[str], list[float]] = {}
    for i, j in d1(real).bonds.tolist():
        pair = frozenset((SYMBOLS[int(real.species[i])], SYMBOLS[int(real.species[j])]))
        expected.setdefault(pair, []).append(float(torch.dist(real.positions[i], real.positions[j])))
    found = bond_lengths(real)
    assert {frozenset(pair.split("-")): len(lengths) for pair, lengths in found.items()} == {
        pair: len(lengths) for pair, lengths in expected.items()
    }
    for pair, lengths in found.items():
        wanted = torch.tensor(sorted(expected[frozenset(pair.split("-"))]), dtype=torch.float64)
        torch.testing.assert_close(lengths.sort().values, wanted)


def test_pairs_come_with_carbon_and_hydrogen_first_and_the_most_frequent_at_the_top(real):
    pairs = list(bond_lengths(real))
    assert pairs[:2] == ["C-H", "C-C"]
    assert {"C-O", "C-N", "H-N", "H-O"} <= set(pairs)


@given(st.lists(st.lists(st.sampled_from([1, 6, 7, 8, 35]), max_size=5), max_size=5))
def test_counts_are_those_of_counting(molecules):
    flat = [number for molecule in molecules for number in molecule]
    structures = Structures.build(torch.zeros(len(flat), 3), flat, n_atoms=[len(m) for m in molecules])
    assert element_counts(structures) == {SYMBOLS[z]: flat.count(z) for z in set(flat)}
    assert size_counts(structures) == {n: [len(m) for m in molecules].count(n) for n in {len(m) for m in molecules}}


def test_nothing_gives_nothing():
    empty = Structures.build(torch.zeros(0, 3), [], n_atoms=[])
    assert (bond_lengths(empty), element_counts(empty), size_counts(empty)) == ({}, {}, {})
