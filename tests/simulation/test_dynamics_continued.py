"""Runs that go on: of the same constraints, never into their own input, and told when nothing is left."""

from __future__ import annotations

from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.constraints import FixAtoms, FixBondLengths, Hookean
from simulation.wells import Springs

from molgen.errors import InputError, OutputError, SimulationError
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


@pytest.mark.parametrize("suffix", [".traj", ".extxyz"])
def test_a_restraint_counts_in_what_is_conserved_and_not_in_what_is_told_of_the_model(tmp_path, suffix):
    out, restraint = tmp_path / f"run{suffix}", Hookean(0, 1, rt=0.5, k=5.0)
    for steps in (10, 20):
        run(held(restraint), out, steps, ensemble="nve", temperature=300)
    for frame in ase.io.read(out, ":"):
        bare = frame.copy()
        bare.calc = Springs(molecule("CH3CH2OH"))
        model = bare.get_potential_energy(apply_constraint=False)
        assert frame.calc.results["energy"] == pytest.approx(model, abs=1e-9)
    totals = np.loadtxt(out.with_suffix(".csv"), delimiter=",", skiprows=1)[:, 4]
    assert len(totals) == 5
    assert np.ptp(totals) < 1e-2 < restraint.adjust_potential_energy(held())


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ({"charge": "0"}, {}, True),
        ({"total_charge": 1}, {"charge": 1.0}, True),
        ({}, {"total_charge": 1}, False),
        ({"spin": 1}, {"multiplicity": 3}, False),
    ],
)
def test_charge_and_spin_are_compared_as_a_calculator_takes_them(tmp_path, first, second, same):
    out, atoms = tmp_path / "run.traj", held()
    atoms.info |= first
    run(atoms, out, 5)
    atoms.info = dict(second)
    if same:
        run(atoms, out, 10)
        return
    with pytest.raises(SimulationError, match=r"the structure's (charge|spin) is not that of the frames"):
        run(atoms, out, 10)


def test_an_atom_without_mass_is_refused(tmp_path):
    atoms = held()
    atoms.set_masses([0.0 if n == 2 else m for n, m in enumerate(atoms.get_masses())])
    with pytest.raises(InputError, match=r"the mass of atom 2 \(O\) is 0 amu"):
        run(atoms, tmp_path / "run.traj", 5)


@pytest.mark.parametrize("suffix", [".traj", ".extxyz"])
def test_labels_and_odd_keys_of_the_start_do_not_spoil_its_frames(tmp_path, suffix):
    out, atoms = tmp_path / f"run{suffix}", held()
    atoms.info |= {"energy": -1.23, "Lattice": "no", "key with space": 3, "e=mc": 4, "text": "two\nlines"}
    run(atoms, out, 5)
    frame = ase.io.read(out)
    assert frame.get_potential_energy() != -1.23
    assert "energy" not in frame.info
    assert (frame.info["key with space"], frame.info["e=mc"]) == (3, 4)
