"""The project's own molecules are what their card says."""

from __future__ import annotations

import re
from pathlib import Path

from molgen.structures import Structures


def test_the_card_states_what_the_file_holds(sdf: Path, small: Structures) -> None:
    card = sdf.with_suffix(".md").read_text()
    assert f"{len(small)} small organic molecules" in card
    smallest, largest = map(int, re.search(r"with (\d+) to (\d+) atoms", card).groups())  # type: ignore[union-attr]
    assert (smallest, largest) == (int(small.n_atoms.min()), int(small.n_atoms.max()))
    for word in ("GFN2-xTB", "eV", "Å", "MIT", "make_small_molecules.py"):
        assert word in card


def test_the_molecules_are_neutral_and_of_four_elements(small: Structures) -> None:
    assert set(small.species.tolist()) == {1, 6, 7, 8}
    assert small.charge.abs().max() == 0
    assert sorted(set(small.bond_orders.tolist())) == [1, 2, 3]
