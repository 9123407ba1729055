"""Runs that go on: of the same constraints, never into their own input, and told when nothing is left."""

from __future__ import annotations

from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.constraints import FixAtoms, FixBondLengths
from simulation.wells import Springs

from molgen.errors import OutputError, SimulationError
from molgen.simulation.dynamics import run_md


def held(*constraints: object) -> Atoms:
    atoms = molecule("CH3CH2OH")
    atoms.set_constraint(list(constraints))
    return atoms


def run(atoms: Atoms, out: Path, steps: int, **options: object) -> None:
    run_md(atoms, Springs(molecule("CH3CH2OH")), out, steps=steps, interval=5, restart=True, **options)


@pytest.mark.parametrize("suffix", [".traj", ".extxyz"])
def test_a_run_goes_on_with_the_atoms_that_it_held_and_with_no_others(tmp_path, suffix):
    out = tmp_path / f"run{suffix}"
    run(held(FixAtoms([0, -1])), out, 10)
    for other in (held(), held(FixAtoms([0])), held(FixAtoms([0, 1]))):
        with pytest.raises(SimulationError, match="the structure's constraints are not those of the frames"):
            run(other, out, 20)
    run(held(FixAtoms([8]), FixAtoms([0])), out, 20)
    last = ase.io.read(out)
    assert last.info["md_step"] == 20
    assert np.array_equal(last.positions[[0, 8]], molecule("CH3CH2OH").positions[[0, 8]])
    assert sorted(last.constraints[0].get_indices() % 9) == [0, 8] or len(last.constraints) == 2


def test_other_constraints_count_where_the_file_tells_of_them(tmp_path):
    out = tmp_path / "run.traj"
    run(held(FixBondLengths([[0, 1]])), out, 10)
    with pytest.raises(SimulationError, match="constraints"):
        run(held(), out, 20)
    run(held(FixBondLengths([[0, 1]])), out, 20)


@pytest.mark.parametrize("named", ["out", "log"])
@pytest.mark.parametrize("options", [{"overwrite": True}, {"restart": True}])
def test_the_file_that_a_structure_is_read_from_is_never_written_to(tmp_path, named, options):
    file = tmp_path / "in.extxyz"
    ase.io.write(file, molecule("CH3CH2OH"))
    before = file.read_bytes()
    (tmp_path / "link.extxyz").symlink_to(file)
    places = {"out": tmp_path / "run.traj"} | {named: tmp_path / "link.extxyz"}
    with pytest.raises(OutputError, match=r"link.extxyz is the file that the structure is read from"):
        run_md(str(file), Springs(molecule("CH3CH2OH")), steps=3, **places, **options)
    assert file.read_bytes() == before
