"""Strict stability, one hand-made molecule per rule, and beside counting bond by bond."""

from __future__ import annotations

import pytest
import torch

from molgen.chemistry.molecules import Molecules
from molgen.chemistry.valences import CHARGED_VALENCES, d2
from molgen.conversion import from_rdkit
from molgen.elements import NUMBERS, SYMBOLS
from molgen.structures import Structures, concatenate

Bond = tuple[int, int, int]


def bonded(
    symbols: str, bonds: list[Bond], charges: list[int] | None = None, charge: float | None = None
) -> Structures:
    """Atoms in a row with these bonds (i, j, order); the total charge is the sum of the charges unless told."""
    species = [NUMBERS[symbol] for symbol in symbols.split()]
    charges = charges or [0] * len(species)
    return Structures.build(
        torch.arange(3 * len(species), dtype=torch.float64).reshape(-1, 3),
        species,
        bonds=[[i, j] for i, j, _ in bonds],
        bond_orders=[order for *_, order in bonds],
        bonds_known=[True],
        formal_charges=charges,
        charge=[float(sum(charges)) if charge is None else charge],
    )


def star(symbol: str, n: int) -> tuple[str, list[Bond]]:
    """One atom with n hydrogens."""
    return " ".join([symbol, *["H"] * n]), [(0, 1 + i, 1) for i in range(n)]


STABLE = {
    "methane": bonded(*star("C", 4)),
    "ammonium": bonded(*star("N", 4), [1, 0, 0, 0, 0]),
    "hydroxide": bonded(*star("O", 1), [-1, 0]),
    "oxonium": bonded(*star("O", 3), [1, 0, 0, 0]),
    "amide anion": bonded(*star("N", 2), [-1, 0, 0]),
    "carbanion": bonded(*star("C", 3), [-1, 0, 0, 0]),
    "borohydride": bonded(*star("B", 4), [-1, 0, 0, 0, 0]),
    "isonitrile": bonded("H C N C H H", [(1, 2, 1), (2, 3, 3), (0, 1, 1), (1, 4, 1), (1, 5, 1)], [0, 0, 1, -1, 0, 0]),
    "carbon monoxide": bonded("C O", [(0, 1, 3)], [-1, 1]),
    "nitromethane": bonded(
        "C H H H N O O", [(0, 1, 1), (0, 2, 1), (0, 3, 1), (0, 4, 1), (4, 5, 2), (4, 6, 1)], [0, 0, 0, 0, 1, 0, -1]
    ),
    "azide": bonded("H N N N", [(0, 1, 1), (1, 2, 2), (2, 3, 2)], [0, 0, 1, -1]),
    "sulfuric acid": bonded("S O O O O H H", [(0, 1, 2), (0, 2, 2), (0, 3, 1), (0, 4, 1), (3, 5, 1), (4, 6, 1)]),
    "phosphine": bonded(*star("P", 3)),
    "chloromethane": bonded("C H H H Cl", [(0, i, 1) for i in range(1, 5)]),
}
UNSTABLE = {
    "methyl radical": bonded(*star("C", 3)),
    "methyl cation": bonded(*star("C", 3), [1, 0, 0, 0]),
    "carbene": bonded(*star("C", 2)),
    "five bonds": bonded(*star("C", 5)),
    "amino radical": bonded(*star("N", 2)),
    "ammonium without charge": bonded(*star("N", 4), charge=1.0),
    "nitro group with five bonds": bonded(
        "C H H H N O O", [(0, 1, 1), (0, 2, 1), (0, 3, 1), (0, 4, 1), (4, 5, 2), (4, 6, 2)]
    ),
    "hydroxyl radical": bonded(*star("O", 1)),
    "oxide ion": bonded("O", [], [-2]),
    "proton": bonded("H", [], [1]),
    "one atom": bonded("C", []),
    "noble gas": bonded("He", []),
    "hydrogen between two": bonded("F H F", [(0, 1, 1), (1, 2, 1)], [-1, 0, 0]),
    "a charge of 3": bonded(*star("N", 4), [3, 0, 0, 0, 0]),
    "seven bonds": bonded(*star("S", 7)),
}


@pytest.mark.parametrize("name", STABLE)
def test_closed_shells_are_stable(name):
    found = d2(STABLE[name])
    assert found.atom_stable.all()
    assert found.molecule_stable.tolist() == [True]


@pytest.mark.parametrize("name", UNSTABLE)
def test_radicals_and_impossible_valences_are_not(name):
    found = d2(UNSTABLE[name])
    assert not found.atom_stable.all()
    assert found.molecule_stable.tolist() == [False]


def test_other_atoms_of_a_wrong_molecule_stay_stable():
    assert d2(UNSTABLE["methyl radical"]).atom_stable.tolist() == [False, True, True, True]


def test_charges_that_do_not_sum_to_the_total_charge_make_the_molecule_unstable_but_no_atom():
    found = d2(bonded(*star("N", 4), [1, 0, 0, 0, 0], charge=0.0))
    assert found.atom_stable.all()
    assert found.net_charge.tolist() == [1]
    assert found.molecule_stable.tolist() == [False]


def test_the_table_has_no_open_shells():
    """Electrons of an atom: its own, minus its charge, plus one per bond; an even number leaves no spin."""
    own = {"H": 1, "B": 3, "Al": 3, "Hg": 2} | dict.fromkeys(("C", "Si", "Ge", "Sn"), 4)
    own |= dict.fromkeys(("N", "P", "As", "Bi"), 5) | dict.fromkeys(("O", "S", "Se"), 6)
    own |= dict.fromkeys(("F", "Cl", "Br", "I"), 7)
    for symbol, by_charge in CHARGED_VALENCES.items():
        for charge, sums in by_charge.items():
            assert all((own[symbol] - charge + total) % 2 == 0 for total in sums), (symbol, charge)
    assert 0 not in {total for by_charge in CHARGED_VALENCES.values() for sums in by_charge.values() for total in sums}


def test_a_batch_is_what_counting_bond_by_bond_says():
    batch = concatenate([*STABLE.values(), *UNSTABLE.values()])
    orders = [0] * len(batch.species)
    for (i, j), order in zip(batch.bonds.tolist(), batch.bond_orders.tolist(), strict=True):
        orders[i] += order
        orders[j] += order
    atoms = zip(batch.species.tolist(), batch.formal_charges.tolist(), orders, strict=True)
    expected = [total in CHARGED_VALENCES.get(SYMBOLS[z], {}).get(q, ()) for z, q, total in atoms]
    found = d2(batch)
    assert found.atom_stable.tolist() == expected
    assert found.molecule_stable.tolist() == [True] * len(STABLE) + [False] * len(UNSTABLE)


def test_without_known_bonds_nothing_is_stable_and_without_atoms_there_is_nothing():
    alone = STABLE["methane"].replace(bonds_known=torch.tensor([False]))
    assert not d2(alone).atom_stable.any()
    empty = d2(Structures.build([], [], n_atoms=[0, 0], bonds_known=[True, True]))
    assert empty.atom_stable.shape == (0,)
    assert empty.molecule_stable.tolist() == [False, False]
    assert d2(Structures.build([], [], n_atoms=[])).molecule_stable.shape == (0,)


def test_molecules_are_judged_by_their_own_bonds_and_by_perceived_ones_where_they_have_none(real):
    given = Molecules(real).bonded()
    torn = given.replace(
        bonds=given.bonds[:0], bond_orders=given.bond_orders[:0], bonds_known=torch.zeros_like(given.bonds_known)
    )
    assert Molecules(torn).d2.molecule_stable.all()
    # a batch of both kinds; the first is judged by bonds that its coordinates don't show
    both = Molecules(concatenate([UNSTABLE["carbene"], torn, STABLE["azide"]]))
    assert both.d2.molecule_stable.tolist() == [False, *[True] * len(torn), True]


def test_given_bonds_that_rdkit_refuses_count_atom_by_atom():
    assert Molecules(UNSTABLE["five bonds"]).perceived[0].mol is None
    assert Molecules(UNSTABLE["five bonds"]).d2.atom_stable.tolist() == [False, *[True] * 5]


def test_two_radicals_that_perception_writes_as_ions_are_not_stable():
    from ase.build import molecule

    from molgen.conversion import from_ase

    one = from_ase(molecule("CH3"))
    pair = Structures.build(torch.cat([one.positions, one.positions + 9]), torch.cat([one.species, one.species]))
    molecules = Molecules(pair)
    assert molecules.smiles == ["[CH3+].[CH3-]"]
    assert not molecules.d2.molecule_stable.any()


def test_aromatic_molecules_of_rdkit_are_kekulised_and_stable():
    from rdkit import Chem
    from rdkit.Chem import AllChem

    mols = [Chem.AddHs(Chem.MolFromSmiles(smiles)) for smiles in ("c1ccncc1", "c1cc[nH]c1", "O=[N+]([O-])c1ccccc1")]
    for mol in mols:
        AllChem.EmbedMolecule(mol, randomSeed=1)
    assert d2(from_rdkit(mols)).molecule_stable.all()
