"""D1 beside a slow, obvious reference with explicit loops."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from molgen.chemistry import stability
from molgen.chemistry.stability import d1
from molgen.elements import NUMBERS, SYMBOLS
from molgen.structures import Structures, concatenate

# written out in full, in both directions, independently of the module's own form
SINGLE = {
    "H": {
        "H": 74,
        "C": 109,
        "N": 101,
        "O": 96,
        "F": 92,
        "B": 119,
        "Si": 148,
        "P": 144,
        "As": 152,
        "S": 134,
        "Cl": 127,
        "Br": 141,
        "I": 161,
    },
    "C": {
        "H": 109,
        "C": 154,
        "N": 147,
        "O": 143,
        "F": 135,
        "Si": 185,
        "P": 184,
        "S": 182,
        "Cl": 177,
        "Br": 194,
        "I": 214,
    },
    "N": {"H": 101, "C": 147, "N": 145, "O": 140, "F": 136, "Cl": 175, "Br": 214, "S": 168, "I": 222, "P": 177},
    "O": {
        "H": 96,
        "C": 143,
        "N": 140,
        "O": 148,
        "F": 142,
        "Br": 172,
        "S": 151,
        "P": 163,
        "Si": 163,
        "Cl": 164,
        "I": 194,
    },
    "F": {
        "H": 92,
        "C": 135,
        "N": 136,
        "O": 142,
        "F": 142,
        "S": 158,
        "Si": 160,
        "Cl": 166,
        "Br": 178,
        "P": 156,
        "I": 187,
    },
    "B": {"H": 119, "Cl": 175},
    "Si": {"Si": 233, "H": 148, "C": 185, "O": 163, "S": 200, "F": 160, "Cl": 202, "Br": 215, "I": 243},
    "Cl": {
        "Cl": 199,
        "H": 127,
        "C": 177,
        "N": 175,
        "O": 164,
        "P": 203,
        "S": 207,
        "B": 175,
        "Si": 202,
        "F": 166,
        "Br": 214,
    },
    "S": {
        "H": 134,
        "C": 182,
        "N": 168,
        "O": 151,
        "S": 204,
        "F": 158,
        "Cl": 207,
        "Br": 225,
        "Si": 200,
        "P": 210,
        "I": 234,
    },
    "Br": {"Br": 228, "H": 141, "C": 194, "O": 172, "N": 214, "Si": 215, "S": 225, "F": 178, "Cl": 214, "P": 222},
    "P": {"P": 221, "H": 144, "C": 184, "O": 163, "Cl": 203, "S": 210, "F": 156, "N": 177, "Br": 222},
    "I": {"H": 161, "C": 214, "Si": 243, "N": 222, "O": 194, "S": 234, "F": 187, "I": 266},
    "As": {"H": 152},
}
DOUBLE = {
    "C": {"C": 134, "N": 129, "O": 120, "S": 160},
    "N": {"C": 129, "N": 125, "O": 121},
    "O": {"C": 120, "N": 121, "O": 121, "P": 150},
    "P": {"O": 150, "S": 186},
    "S": {"C": 160, "P": 186},
}
TRIPLE = {"C": {"C": 120, "N": 116, "O": 113}, "N": {"C": 116, "N": 110}, "O": {"C": 113}}
VALENCES = {
    "H": [1],
    "C": [4],
    "N": [3],
    "O": [2],
    "F": [1],
    "B": [3],
    "Al": [3],
    "Si": [4],
    "P": [3, 5],
    "S": [4],
    "Cl": [1],
}
VALENCES |= {"As": [3], "Br": [1], "I": [1], "Hg": [1, 2], "Bi": [3, 5]}


def reference_order(first: str, second: str, picometres: float) -> int:
    if second in SINGLE.get(first, {}) and picometres < SINGLE[first][second] + 10:
        if second in DOUBLE.get(first, {}) and picometres < DOUBLE[first][second] + 5:
            if second in TRIPLE.get(first, {}) and picometres < TRIPLE[first][second] + 3:
                return 3
            return 2
        return 1
    return 0


def reference_d1(structures: Structures) -> tuple[list[int], list[bool], list[bool]]:
    sums, atoms, molecules = [], [], []
    for one in structures.split():
        symbols = [SYMBOLS[z] for z in one.species.tolist()]
        points = one.positions.double().tolist()
        total = [0] * len(symbols)
        for i in range(len(symbols)):
            for j in range(i + 1, len(symbols)):
                squares = [(a - b) ** 2 for a, b in zip(points[i], points[j], strict=True)]
                order = reference_order(symbols[i], symbols[j], 100 * math.sqrt(sum(squares)))
                total[i] += order
                total[j] += order
        stable = [total[i] in VALENCES.get(symbols[i], []) for i in range(len(symbols))]
        sums += total
        atoms += stable
        molecules.append(bool(stable) and all(stable))
    return sums, atoms, molecules


def assert_equals_reference(structures: Structures) -> None:
    result = d1(structures)
    sums, atoms, molecules = reference_d1(structures)
    assert result.bond_sums.tolist() == sums
    assert result.atom_stable.tolist() == atoms
    assert result.molecule_stable.tolist() == molecules


def pair(first: str, second: str, picometres: float) -> Structures:
    positions = torch.tensor([[0.0, 0, 0], [picometres / 100, 0, 0]], dtype=torch.float64)
    return Structures.build(positions, [NUMBERS[first], NUMBERS[second]])


@st.composite
def crowds(draw) -> Structures:
    """Atoms of all tabulated elements and two others, crowded as closely as bonds are."""
    counts = draw(st.lists(st.integers(0, 9), min_size=1, max_size=5))
    elements = sorted(NUMBERS[s] for s in {*SINGLE, *VALENCES, "Se", "Na"})
    n = sum(counts)
    species = draw(st.lists(st.sampled_from(elements), min_size=n, max_size=n))
    seed = draw(st.integers(0, 2**31))
    side = draw(st.floats(0.5, 5.0))
    positions = torch.rand(n, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * side
    return Structures.build(positions, species, n_atoms=counts)


@settings(max_examples=100, deadline=None)
@given(crowds())
def test_random_crowds_get_the_bonds_of_the_explicit_loops(structures):
    assert_equals_reference(structures)


@settings(max_examples=20, deadline=None)
@given(crowds())
def test_pairs_taken_a_few_at_a_time_give_the_same_bonds(structures):
    whole = d1(structures)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stability, "PAIRS_AT_ONCE", 3)
        pieces = d1(structures)
    assert torch.equal(whole.bonds, pieces.bonds)
    assert torch.equal(whole.bond_orders, pieces.bond_orders)


def test_every_pair_of_elements_is_bonded_as_the_tables_say_in_both_directions():
    symbols = sorted({*SINGLE, *VALENCES, "Se", "Na"})
    distances = [70.0, 115.9, 118.9, 124.9, 130.1, 150.3, 164.9, 180.2, 190.9, 210.4, 243.9, 275.9, 276.1]
    batch = [(a, b, d) for a in symbols for b in symbols for d in distances]
    result = d1(concatenate([pair(*case) for case in batch]))
    for index, (a, b, distance) in enumerate(batch):
        assert int(result.bond_sums[2 * index]) == reference_order(a, b, distance), (a, b, distance)


@pytest.mark.parametrize(
    ("first", "second", "limit", "inside"),
    [("C", "C", 164, 1), ("C", "C", 139, 2), ("C", "C", 123, 3), ("O", "H", 106, 1), ("C", "O", 125, 2)],
)
def test_a_distance_equal_to_the_limit_is_outside(first, second, limit, inside):
    assert d1(pair(first, second, limit)).bond_sums[0] == inside - 1
    assert d1(pair(first, second, limit - 0.01)).bond_sums[0] == inside


def test_sulfur_must_have_four_bonds_and_phosphorus_three_or_five():
    hydrogen_sulfide = Structures.build([[0.0, 0, 0], [1.34, 0, 0], [0, 1.34, 0]], [16, 1, 1])
    phosphine = Structures.build([[0.0, 0, 0], [1.42, 0, 0], [0, 1.42, 0], [0, 0, 1.42]], [15, 1, 1, 1])
    assert d1(hydrogen_sulfide).atom_stable.tolist() == [False, True, True]
    assert d1(phosphine).molecule_stable.tolist() == [True]


def test_one_unstable_atom_makes_its_molecule_unstable_and_no_other():
    water = Structures.build([[0.0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]], [8, 1, 1])
    hydroxyl = Structures.build([[0.0, 0, 0], [0.96, 0, 0]], [8, 1])
    result = d1(concatenate([water, hydroxyl, water]))
    assert result.molecule_stable.tolist() == [True, False, True]
    assert result.atom_stable.tolist() == [True, True, True, False, True, True, True, True]
    assert result.bonds.tolist() == [[0, 1], [0, 2], [3, 4], [5, 6], [5, 7]]


def test_bonds_that_come_with_the_structure_are_ignored():
    far = Structures.build([[0.0, 0, 0], [5.0, 0, 0]], [1, 1], bonds=[[0, 1]], bond_orders=[1], bonds_known=[True])
    assert len(d1(far).bonds) == 0


def test_no_structures_and_empty_structures_are_answered():
    nothing = d1(Structures.build(torch.zeros(0, 3), [], n_atoms=[]))
    assert (len(nothing.atom_stable), len(nothing.molecule_stable)) == (0, 0)
    assert d1(Structures.build(torch.zeros(0, 3), [], n_atoms=[0])).molecule_stable.tolist() == [False]


def test_the_answer_does_not_depend_on_the_precision_of_the_coordinates():
    generator = torch.Generator().manual_seed(1)
    positions = (torch.rand(40, 3, generator=generator) * 4).float()
    single = Structures.build(positions, [6, 1, 7, 8] * 10, n_atoms=[20, 20])
    assert torch.equal(d1(single).bond_orders, d1(single.to(torch.float64)).bond_orders)
