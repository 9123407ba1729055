"""The one data type: built with checks, taken apart and put together again."""

from __future__ import annotations

from dataclasses import fields

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import equal, structures

from molgen.errors import StructureError
from molgen.structures import Structures, concatenate


@given(batch=structures(min_size=1))
def test_concatenate_undoes_split(batch: Structures) -> None:
    parts = batch.split()
    assert [len(part) for part in parts] == [1] * len(batch)
    assert equal(concatenate(parts), batch)


@given(parts=st.lists(structures(min_size=1, max_size=1), min_size=1, max_size=4))
def test_split_undoes_concatenate(parts: list[Structures]) -> None:
    again = concatenate(parts).split()
    assert len(again) == len(parts)
    assert all(equal(a, b) for a, b in zip(again, parts, strict=True))


@given(batch=structures(min_size=1), data=st.data())
def test_select_takes_the_structures_of_the_indices_in_their_order(batch: Structures, data: st.DataObject) -> None:
    indices = data.draw(st.lists(st.integers(0, len(batch) - 1), max_size=6))
    chosen = batch.select(indices)
    chosen.check()
    parts = batch.split()
    assert len(chosen) == len(indices)
    assert all(equal(a, parts[index]) for a, index in zip(chosen.split(), indices, strict=True))


@given(batch=structures(min_size=1), data=st.data())
def test_select_takes_a_mask(batch: Structures, data: st.DataObject) -> None:
    mask = data.draw(st.lists(st.booleans(), min_size=len(batch), max_size=len(batch)))
    kept = [index for index, keep in enumerate(mask) if keep]
    assert equal(batch.select(torch.tensor(mask)), batch.select(kept))


def test_bonds_follow_their_structures_even_where_they_were_not_sorted() -> None:
    batch = Structures.build(
        torch.randn(5, 3),
        [1] * 5,
        n_atoms=[2, 3],
        bonds=[[2, 4], [0, 1], [2, 3]],
        bond_orders=[2, 1, 3],
        bonds_known=[True, True],
    )
    first, second = batch.split()
    assert (first.bonds.tolist(), first.bond_orders.tolist()) == ([[0, 1]], [1])
    assert (second.bonds.tolist(), second.bond_orders.tolist()) == ([[0, 2], [0, 1]], [2, 3])


def test_concatenate_keeps_the_labels_that_every_part_has() -> None:
    a = Structures.build([[0.0, 0, 0]], [1], structure_labels={"energy": torch.ones(1), "gap": torch.ones(1)})
    b = Structures.build([[0.0, 0, 0]], [1], structure_labels={"energy": torch.zeros(1)})
    joined = concatenate([a, b])
    assert set(joined.structure_labels) == {"energy"}
    assert joined.structure_labels["energy"].tolist() == [1.0, 0.0]


def test_concatenate_of_nothing_is_an_error() -> None:
    with pytest.raises(StructureError, match="nothing to concatenate"):
        concatenate([])


def test_what_is_left_out_is_empty_zero_or_singlet() -> None:
    held = Structures.build([[0.0, 0, 0], [0, 0, 1]], [6, 8])
    assert held.batch.tolist() == [0, 0]
    assert held.offsets.tolist() == [0]
    assert not held.cell.any()
    assert not held.pbc.any()
    assert held.charge.tolist() == [0.0]
    assert held.spin.tolist() == [1]
    assert held.formal_charges.tolist() == [0, 0]
    assert held.bonds.shape == (0, 2)
    assert held.bonds_known.tolist() == [False]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_positions_keep_their_precision_and_set_that_of_cell_and_charge(dtype: torch.dtype) -> None:
    held = Structures.build(torch.zeros(1, 3, dtype=dtype), [1], cell=torch.eye(3)[None].double(), charge=[1])
    assert held.positions.dtype == held.cell.dtype == held.charge.dtype == dtype
    assert Structures.build([[0, 0, 1]], [1]).positions.dtype == torch.float64


@given(batch=structures())
def test_another_precision_changes_floating_fields_alone(batch: Structures) -> None:
    single = batch.to(torch.float32)
    for f in fields(Structures):
        before, after = getattr(batch, f.name), getattr(single, f.name)
        for a, b in zip(*[list(v.values()) if isinstance(v, dict) else [v] for v in (before, after)], strict=True):
            assert b.dtype == (torch.float32 if a.is_floating_point() else a.dtype)
            assert torch.allclose(a.double(), b.double(), rtol=1e-6)


def test_formulas_are_in_the_order_of_hill() -> None:
    atoms = [8, 1, 6, 1, 1, 1, 8, 1, 1, 17, 11]
    batch = Structures.build(torch.randn(len(atoms), 3), atoms, n_atoms=[6, 0, 3, 2])
    assert batch.formulas() == ["CH4O", "", "H2O", "ClNa"]


def test_structures_are_frozen() -> None:
    held = Structures.build([[0.0, 0, 0]], [1])
    with pytest.raises(AttributeError):
        held.species = torch.tensor([2])  # type: ignore[misc]


WATER = [[0.0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]]


@pytest.mark.parametrize(
    ("changed", "what"),
    [
        ({"positions": [[0.0, 0, 0]]}, r"positions has shape \[1, 3\]; expected \[3, 3\]"),
        ({"positions": [[0.0, 0], [1, 0], [0, 1]]}, r"positions has shape \[3, 2\]"),
        ({"positions": [[0.0, 0, 0], [1, 0], [0, 1]]}, "positions is no array of numbers"),
        ({"positions": "water"}, "positions is no array of numbers"),
        ({"species": ["O", "H", "H"]}, "species is no array of numbers"),
        ({"species": [8, 1, 119]}, "119 is no element.*structure 0, atom 2"),
        ({"species": [8, 0, 1]}, "0 is no element.*structure 0, atom 1"),
        ({"n_atoms": [2, 2]}, "n_atoms sums to 4; expected 3"),
        ({"n_atoms": [4, -1]}, "n_atoms is negative.*structure 1"),
        ({"positions": [WATER[0], WATER[1], [0, float("nan"), 0]]}, "not a finite number.*structure 0, atom 2"),
        ({"positions": [WATER[0], [float("inf"), 0, 0], WATER[2]], "n_atoms": [1, 2]}, "finite.*structure 1, atom 0"),
        ({"cell": [[[float("nan")] * 3] * 3]}, "cell vector is not finite"),
        ({"cell": torch.eye(3)}, r"cell has shape \[3, 3\]; expected \[1, 3, 3\]"),
        ({"charge": [float("nan")]}, "charge is not finite.*structure 0"),
        ({"spin": [0]}, "spin is 0.*structure 0.*multiplicity"),
        ({"bonds": [[0, 3]], "bond_orders": [1]}, "not there; expected 0 to 2"),
        ({"bonds": [[1, 0]], "bond_orders": [1]}, "pairs i < j"),
        ({"bonds": [[0, 1]]}, r"bond_orders has shape \[0\]"),
        ({"bonds": [[0, 2]], "bond_orders": [1], "n_atoms": [2, 1]}, "joins two structures"),
        ({"atom_labels": {"forces": torch.zeros(2, 3)}}, "label 'forces' has 2 rows; expected one per atom, 3"),
        ({"structure_labels": {"energy": torch.zeros(2)}}, "label 'energy' has 2 rows"),
        ({"colour": [1]}, "no field colour"),
        ({"batch": [0, 0, 0]}, "no field batch"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_field_and_the_place(changed: dict, what: str) -> None:
    with pytest.raises(StructureError, match=what):
        Structures.build(**{"positions": WATER, "species": [8, 1, 1]} | changed)


@pytest.mark.gpu
def test_structures_move_to_a_gpu_and_back_unchanged() -> None:
    held = Structures.build(WATER, [8, 1, 1], atom_labels={"forces": torch.randn(3, 3)})
    there = held.to("cuda")
    assert there.atom_labels["forces"].device.type == "cuda"
    assert equal(there.to("cpu"), held)
