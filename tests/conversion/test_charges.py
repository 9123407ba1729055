"""Charge and multiplicity, under all the keys that people write them."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms

from molgen.conversion import from_ase
from molgen.conversion.charges import CHARGE_KEYS, SPIN_KEYS, charge_of, spin_of
from molgen.errors import StructureError

AS_WRITTEN = [2, 2.0, "2", np.int64(2), np.float32(2), np.array(2), np.array([2.0])]


@pytest.mark.parametrize("value", AS_WRITTEN, ids=repr)
@pytest.mark.parametrize("key", [*CHARGE_KEYS, *SPIN_KEYS])
def test_a_number_is_read_however_it_is_written(key: str, value: object) -> None:
    atoms = Atoms("H", info={key: value})
    assert (charge_of if key in CHARGE_KEYS else spin_of)(atoms) == 2
    batch = from_ase(atoms)
    assert [batch.charge.tolist(), batch.spin.tolist()] == ([[2.0], [1]] if key in CHARGE_KEYS else [[0.0], [2]])


@pytest.mark.parametrize("value", ["two", None, np.nan, np.array([1, 2]), [], "inf"], ids=repr)
@pytest.mark.parametrize("key", [*CHARGE_KEYS, *SPIN_KEYS])
def test_what_is_no_number_is_refused_by_key(key: str, value: object) -> None:
    read = charge_of if key in CHARGE_KEYS else spin_of
    with pytest.raises(StructureError, match=rf"info\['{key}'\] is .*frame 4"):
        read(Atoms("H", info={key: value}), "frame 4")


def test_two_keys_may_agree_but_not_differ() -> None:
    assert charge_of(Atoms("H", info={"charge": 1, "total_charge": 1.0})) == 1
    with pytest.raises(StructureError, match=r"info\['charge'\] is 1 and info\['total_charge'\] is 0; keep one"):
        charge_of(Atoms("H", info={"charge": 1, "total_charge": 0}))


@pytest.mark.parametrize("spin", [0, -1, 1.5])
def test_a_multiplicity_is_a_positive_integer(spin: float) -> None:
    with pytest.raises(StructureError, match=r"info\['multiplicity'\] is .*expected a multiplicity"):
        spin_of(Atoms("H", info={"multiplicity": spin}))


def test_the_info_goes_before_a_default_and_a_default_before_initial_charges() -> None:
    ion = Atoms("OH", charges=[-0.8, -0.2])
    assert charge_of(ion) == -1
    assert charge_of(ion, default=2) == 2
    ion.info["charge"] = 0
    assert charge_of(ion, default=2) == 0
    assert spin_of(ion, default=3) == 3
