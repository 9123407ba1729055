"""Extended xyz of ours as ASE reads it: info and arrays of every kind come back, and none is taken for another."""

from __future__ import annotations

import gzip
import io

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms, FixCartesian
from ase.spacegroup import Spacegroup
from simulation.wells import Springs

from molgen.simulation.extended_xyz import extended_xyz, fixed_atoms
from molgen.simulation.inputs import as_inputs
from molgen.simulation.relaxation import relax


def again(atoms: Atoms) -> Atoms:
    """What ASE reads of two frames in a row, so that neither may have a line too many."""
    first, second = ase.io.read(io.StringIO(extended_xyz(atoms) * 2), format="extxyz", index=":")
    assert first == second
    return second


def water(**info: object) -> Atoms:
    return molecule("H2O", info=info)


@pytest.mark.parametrize(
    ("value", "read"),
    [
        (True, True),
        (2, 2),
        (1 / 3, 1 / 3),
        ([1, 2], [1, 2]),
        ([[1.5, 2.0], [3.0, 4.0]], [[1.5, 2.0], [3.0, 4.0]]),
        (["a\nb", 'c"d', "e\\f"], ["a\nb", 'c"d', "e\\f"]),
        ({"a": [1], "b": 'q"z'}, {"a": [1], "b": 'q"z'}),
        ([[1], [2, 3]], "[[1], [2, 3]]"),
        ({"of": 1j}, "{'of': 1j}"),
        ("two\nlines\r\nmore", "two lines more"),
        (Spacegroup(227), "F d -3 m"),
    ],
)
def test_info_of_every_kind_is_read_again(value, read):
    found = again(water(x=value, last=7))
    assert np.array_equal(found.info["x"], read)
    assert found.info["last"] == 7


def test_what_is_empty_takes_nothing_for_its_value():
    assert again(water(x="", y=[], last=7)).info == {"last": 7}


@pytest.mark.parametrize("name", ["energy", "magmom", "polarization", "virial", "Lattice", "Properties", "pbc"])
def test_info_is_not_taken_for_a_result_or_for_the_frame_itself(name):
    found = again(water(**{name: 3.0}))
    assert not found.info
    assert found.calc is None
    assert not found.cell.any()


def test_arrays_of_every_kind_are_read_again():
    atoms = water()
    atoms.set_tags([3, 2, 1])
    atoms.set_initial_charges([-0.8, 0.4, 0.4])
    atoms.new_array("pairs", np.array([[0.1, 1], [2, 3], [4, 5]]))
    atoms.new_array("chosen", np.array([True, False, True]))
    atoms.new_array("names", np.array(["O1", "HA", "HB"]))
    atoms.new_array("spaces", np.array(["a b", "", "c"]))
    atoms.new_array("forces", np.ones((3, 3)))
    for found in (again(atoms), again(again(atoms))):
        assert found.calc is None
        assert {*found.arrays} == {*atoms.arrays} - {"spaces", "forces"}
        for name in found.arrays:
            assert np.array_equal(found.arrays[name], atoms.arrays[name])


def test_directions_that_are_held_are_marked():
    atoms = water()
    atoms.set_constraint([FixAtoms([-1]), FixCartesian(0, mask=(True, False, False))])
    assert fixed_atoms(atoms) == fixed_atoms(again(atoms)) == {2}
    held = {int(each.index[0]): each.mask.tolist() for each in again(atoms).constraints}
    assert held[0] == [True, False, False]
    assert held[1] == [False, False, False]


def test_a_stress_stands_as_nine_numbers():
    atoms = water()
    atoms.calc = SinglePointCalculator(atoms, energy=-1.5, stress=np.arange(6.0), dipole=np.arange(3.0))
    assert "energy=-1.5 " in extended_xyz(atoms)
    assert np.array_equal(again(atoms).get_stress(), np.arange(6.0))
    assert np.array_equal(again(atoms).get_dipole_moment(), np.arange(3.0))


def test_keys_of_info_that_are_no_texts_are_kept():
    (atoms,) = as_inputs(Atoms("H", info={3: 1, "energy": -2.0})).atoms
    assert atoms.info == {3: 1}


@pytest.mark.parametrize("name", ["out.extxyz", "out.xyz", "out.xyz.gz"])
def test_relaxed_structures_are_written_with_every_digit(tmp_path, name):
    atoms = water(text="two\nlines", x="")
    atoms.set_tags([3, 2, 1])
    results = relax(atoms, Springs(atoms))
    path = results.write(tmp_path / name)
    text = gzip.decompress(path.read_bytes()).decode() if name.endswith("gz") else path.read_text()
    found = ase.io.read(io.StringIO(text), format="extxyz")
    assert np.array_equal(found.positions, results[0].atoms.positions)
    assert found.get_tags().tolist() == [3, 2, 1]
    assert found.info["text"] == "two lines"
    assert found.info["converged"]
