"""Relaxation through ASE: minima, cells, files, and structures that don't get there."""

from __future__ import annotations

import signal

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from ase.constraints import FixAtoms
from rdkit import Chem
from rdkit.Chem import AllChem
from simulation.potentials import ethanol, poisoned, potential, silicon, written
from simulation.wells import Springs

from molgen.errors import ConfigError, FileFormatError, InputError, OutputError, StructureError
from molgen.simulation import together
from molgen.simulation.calculator import Calculator
from molgen.simulation.relaxation import OPTIMIZERS, relax
from molgen.simulation.relaxed import RelaxationInterrupted, displacement

FMAX = 0.01  # eV/Å, the default

# eV and Å that two minimisers may differ by at that force, in the stiff molecules below
SAME_ENERGY, SAME_PLACE = 1e-4, 5e-3


def stretched(seed: int = 0) -> tuple[Atoms, Springs]:
    """A molecule off the rest of its springs, and those."""
    rest = molecule("CH3CH2OH")
    atoms = rest.copy()
    atoms.rattle(0.1, seed=seed)
    return atoms, Springs(rest)


def fixed() -> Atoms:
    atoms = ethanol()
    atoms.set_constraint(FixAtoms([0]))
    return atoms


@pytest.mark.parametrize("optimizer", OPTIMIZERS[:3])
def test_every_optimizer_finds_the_rest_of_springs(optimizer):
    atoms, calculator = stretched()
    (found,) = relax(atoms, calculator, optimizer=optimizer)
    assert found.converged
    assert found.reason is None
    assert found.max_force <= FMAX
    assert found.energy_after == pytest.approx(0.0, abs=SAME_ENERGY)
    assert found.energy_before > 0.1
    assert displacement(molecule("CH3CH2OH"), found.atoms) < SAME_PLACE
    assert found.rmsd == pytest.approx(displacement(atoms, found.atoms))
    assert found.atoms.get_potential_energy() == found.energy_after
    assert np.linalg.norm(found.atoms.get_forces(), axis=1).max() == pytest.approx(found.max_force)
    assert atoms.calc is None, "what was handed in stays as it was"


def test_a_potential_relaxes_molecules_and_crystals():
    for atoms in (ethanol(), silicon()):
        (found,) = relax(atoms, potential(), fmax=1e-3)
        assert found.converged
        assert found.energy_after < found.energy_before


def test_a_cell_is_relaxed_where_that_is_asked_for():
    atoms = bulk("Cu", cubic=True)
    atoms.set_cell(atoms.cell.array * 1.05 @ (np.eye(3) + 0.02), scale_atoms=True)
    (still,) = relax(atoms, EMT())
    (moved,) = relax(atoms, EMT(), cell=True)
    assert np.array_equal(still.atoms.cell.array, atoms.cell.array)
    assert moved.converged
    ideal = bulk("Cu", cubic=True, a=3.59).get_volume()
    assert moved.atoms.get_volume() == pytest.approx(ideal, rel=5e-3)
    lengths = moved.atoms.cell.cellpar()
    assert lengths == pytest.approx([3.59, 3.59, 3.59, 90, 90, 90], rel=5e-3)
    assert moved.energy_after < still.energy_after
    assert moved.rmsd < 0.01, "what the cell alone does to the atoms is no displacement"


def test_a_cell_relaxed_by_a_potential_has_no_stress_left():
    start = silicon(rattle=0.02)
    start.set_cell(start.cell.array * 0.9, scale_atoms=True)
    (found,) = relax(start, potential(), cell=True, fmax=0.005)
    assert found.converged
    found.atoms.calc = Calculator(potential())
    # of the generalised forces that ASE relaxes, each of which is below fmax
    assert np.abs(found.atoms.get_stress()).max() * found.atoms.get_volume() < 0.05


@pytest.mark.parametrize("atoms", [molecule("H2O"), Atoms("Cu", cell=[3, 3, 3], pbc=[True, True, False])])
def test_a_cell_that_is_not_there_is_not_relaxed(atoms):
    with pytest.raises(InputError, match=r"its cell can't be relaxed \(structures, structure 0\)"):
        relax(atoms, EMT(), cell=True)


def test_a_model_without_stress_relaxes_no_cell():
    with pytest.raises(ConfigError, match="the model gives none"):
        relax(bulk("Cu"), Springs(bulk("Cu")), cell=True)


def test_constraints_hold_their_atoms():
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.2, seed=1)
    atoms.set_constraint(FixAtoms([0]))
    (found,) = relax(atoms, EMT())
    assert found.converged
    assert np.array_equal(found.atoms.positions[0], atoms.positions[0])


def test_too_few_steps_are_told_and_the_last_frame_is_kept():
    atoms, calculator = stretched()
    found = relax(atoms, calculator, steps=3)
    assert (found[0].converged, found[0].steps) == (False, 3)
    assert found[0].reason == "not converged after 3 steps"
    assert found[0].energy_after < found[0].energy_before
    assert found.n_converged == 0
    assert "not converged after 3 steps" in found.table()
    assert "0 of 1 converged" in found.table()


def test_a_structure_that_the_model_refuses_does_not_stop_the_others():
    frames = [ethanol(), molecule("SiH4"), molecule("SO2"), ethanol(seed=1)]
    found = relax(frames, potential())
    assert [each.converged for each in found] == [True, True, False, True]
    refused = found[2]
    assert "atom 0 is S, an element that the model doesn't know" in refused.reason
    assert np.isnan(refused.energy_before)
    assert np.array_equal(refused.atoms.positions, frames[2].positions)
    assert refused.as_row()["energy_before"] is None
    assert "-" in found.table().splitlines()[3]


def test_if_the_model_refuses_all_its_first_refusal_is_the_error():
    with pytest.raises(StructureError, match="S, an element that the model doesn't know"):
        relax([molecule("SO2"), molecule("SH2")], potential())
    with pytest.raises(StructureError, match="it is periodic, and the model takes molecules alone"):
        relax(silicon(), potential(encoder={"channels": 4, "layers": 1}))
    with pytest.raises(StructureError, match="finite"):
        relax(ethanol(), poisoned(potential()))


@pytest.mark.parametrize(
    ("how", "words"),
    [
        (("energy", float("nan")), "an energy of nan eV"),
        (("forces", float("nan")), "a force that is not finite on atom 0"),
        (("forces", 1e5), r"above the limit of 1000"),
    ],
)
def test_what_leaves_reason_ends_at_the_last_good_frame(tmp_path, how, words):
    atoms, calculator = stretched()
    calculator.breaks_at, calculator.how = 4, how
    (found,) = results = relax(atoms, calculator)
    assert not found.converged
    assert words in found.reason
    assert np.isfinite(found.energy_after)
    assert found.energy_after < found.energy_before
    assert not np.array_equal(found.bad.positions, found.atoms.positions)
    assert results.write_bad(tmp_path / "bad.extxyz")
    assert ase.io.read(tmp_path / "bad.extxyz").positions == pytest.approx(found.bad.positions)
    marked = ase.io.read(results.write(tmp_path / "out.extxyz"))
    assert marked.info["converged"] == False  # noqa: E712  numpy's own
    assert words in marked.info["reason"]


def test_atoms_that_fall_onto_each_other_are_no_minimum():
    class Hole(LennardJones):
        def calculate(self, *arguments, **named):
            super().calculate(*arguments, **named)
            self.results = {"energy": -(self.atoms.get_distance(0, 1) ** -0.1), "forces": self._pull()}

        def _pull(self):
            vector = self.atoms.positions[1] - self.atoms.positions[0]
            length = np.linalg.norm(vector)
            # pulls until the two are 0.2 Å apart
            return np.array([1.0, -1.0])[:, None] * vector * (length - 0.2)

    (found,) = relax(Atoms("H2", [[0, 0, 0], [0, 0, 1]]), Hole())
    assert not found.converged
    assert "collapsed: atoms 0 and 1 are 0.2" in found.reason


def test_an_interrupt_keeps_what_was_finished(tmp_path):
    frames = [stretched(seed)[0] for seed in range(3)]

    def interrupt(structure: int, step: int, force: float) -> None:
        if (structure, step) == (1, 2):
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(RelaxationInterrupted) as raised:
        relax(frames, stretched()[1], on_step=interrupt)
    results = raised.value.results
    assert [each.reason for each in results] == [None, "interrupted"]
    assert results[1].energy_after < results[1].energy_before


def test_batches_have_the_results_of_structures_one_by_one(tmp_path):
    frames = [ethanol(), molecule("H2O"), molecule("SO2"), ethanol(seed=1)]
    frames[0].info["name"] = "first"
    found = relax(frames, potential(), optimizer="batched")
    alone = relax(frames, potential())
    assert [each.formula for each in found] == [each.formula for each in alone]
    assert [each.converged for each in found] == [each.converged for each in alone]
    assert found[0].atoms.info["name"] == "first"
    assert found[0].energy_before == pytest.approx(alone[0].energy_before)
    assert "S, an element" in found[2].reason or "the element S" in found[2].reason
    again = relax([each.atoms for each in found if each.converged], Calculator(potential()), fmax=0.0101)
    assert [each.steps for each in again] == [0, 0, 0]
    for result in (found[0], found[3]):
        assert result.atoms.get_potential_energy() == result.energy_after
        assert np.linalg.norm(result.atoms.get_forces(), axis=1).max() == pytest.approx(result.max_force)
    assert len(ase.io.read(found.write(tmp_path / "out.extxyz"), ":")) == 4


@pytest.mark.parametrize(
    ("structure", "model", "changed", "words"),
    [
        (ethanol(), EMT(), {}, "batches are relaxed by potentials"),
        (silicon(), potential(), {"cell": True}, "cells can't be relaxed in batches"),
        (fixed(), potential(), {}, r"constraints can't be kept in batches \(structures, structure 0\)"),
    ],
)
def test_what_batches_can_not_do_is_told(structure, model, changed, words):
    with pytest.raises(ConfigError, match=words):
        relax(structure, model, optimizer="batched", **changed)


def test_an_interrupt_keeps_the_batches_that_were_finished(monkeypatch):
    monkeypatch.setitem(together._MOST_ATOMS, "cpu", 9)

    def interrupt(structure: int, step: int, force: float) -> None:
        signal.raise_signal(signal.SIGTERM)

    with pytest.raises(RelaxationInterrupted) as raised:
        relax([molecule("H2O"), ethanol(), molecule("CH4")], potential(), optimizer="batched", on_step=interrupt)
    assert [each.formula for each in raised.value.results] == ["C2H6O"]


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"fmax": 0.0}, "fmax is 0.0; expected a positive number of eV/Å"),
        ({"fmax": float("nan")}, "fmax is nan"),
        ({"steps": 0}, "steps is 0; expected at least 1"),
        ({"force_limit": -1.0}, "force_limit is -1.0"),
        ({"optimizer": "bgfs"}, r"unknown optimizer 'bgfs'; .*did you mean 'bfgs'"),
    ],
)
def test_options_that_make_no_sense_are_refused(changed, words):
    with pytest.raises(ConfigError, match=words):
        relax(*stretched(), **changed)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("gone.cif", None, "no such file or directory"),
        ("empty.cif", b"", "the file is empty"),
        ("odd.vasp", b"no\ncrystal\nat all", "ASE can't read the file"),
        ("odd.thing", b"\x00\x01", "unknown file format"),
        ("cut.xyz", b"3\n\nO 0 0 0\n", "the frame has 1 lines of atoms"),
    ],
)
def test_a_file_that_can_not_be_read_is_told(tmp_path, name, content, words):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(FileFormatError, match=words):
        relax(path, EMT())


@pytest.mark.parametrize("name", ["in.extxyz", "in.cif", "POSCAR", "in.traj", "in.xyz", "in.db"])
def test_files_of_every_kind_are_read(tmp_path, name):
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.05, seed=0)
    ase.io.write(tmp_path / name, atoms)
    (found,) = relax(tmp_path / name, EMT())
    assert found.formula == "Cu4"
    assert found.converged


@pytest.mark.parametrize("name", ["out.extxyz", "out.xyz", "out.traj", "out.json", "out.cif", "POSCAR", "out.pdb"])
def test_files_of_every_kind_are_written(tmp_path, name):
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.05, seed=0)
    results = relax(atoms, EMT())
    path = results.write(tmp_path / name)
    written_atoms = ase.io.read(path)
    # a pdb file has three decimals
    assert written_atoms.cell.cellpar() == pytest.approx(atoms.cell.cellpar(), abs=1e-3)
    distances = (each.get_all_distances(mic=True) for each in (written_atoms, results[0].atoms))
    assert next(distances) == pytest.approx(next(distances), abs=2e-3)
    if name in ("out.extxyz", "out.xyz", "out.traj"):
        assert written_atoms.get_potential_energy() == pytest.approx(results[0].energy_after, abs=1e-6)
        assert written_atoms.get_forces() == pytest.approx(results[0].atoms.get_forces(), abs=1e-6)
        assert written_atoms.info["converged"] == True  # noqa: E712  numpy's own
    with pytest.raises(OutputError, match="exists; replace it"):
        results.write(path)
    results.write(path, overwrite=True)


def test_an_sdf_file_keeps_its_bonds_and_others_get_perceived_ones(tmp_path):
    mol = Chem.AddHs(Chem.MolFromSmiles("CC(=O)O"))
    AllChem.EmbedMolecule(mol, randomSeed=1)
    Chem.MolToMolFile(mol, str(tmp_path / "in.sdf"))
    results = relax(tmp_path / "in.sdf", potential())
    (kept,) = Chem.SDMolSupplier(str(results.write(tmp_path / "out.sdf")), removeHs=False)
    assert Chem.MolToSmiles(Chem.RemoveHs(kept)) == "CC(=O)O"
    assert kept.GetConformer().GetPositions() == pytest.approx(results[0].atoms.positions, abs=1e-4)
    assert kept.GetProp("converged") == "true"
    assert float(kept.GetProp("energy_after")) == results[0].energy_after
    water = molecule("H2O")
    (made,) = Chem.SDMolSupplier(str(relax(water, Springs(water)).write(tmp_path / "water.sdf")), removeHs=False)
    assert Chem.MolToSmiles(Chem.RemoveHs(made)) == "O"


def test_a_format_that_can_not_hold_the_results_is_refused(tmp_path):
    results = relax([stretched(seed)[0] for seed in range(2)], stretched()[1])
    with pytest.raises(InputError, match="vasp holds one structure, and there are 2"):
        results.write(tmp_path / "POSCAR")
    with pytest.raises(InputError, match=r"structures can't be written to 'out.thing'"):
        results.write(tmp_path / "out.thing")
    with pytest.raises(OutputError, match="there is no folder"):
        results.write(tmp_path / "no" / "out.xyz")
    assert not list(tmp_path.iterdir())


def test_a_model_file_is_taken_by_its_path(tmp_path):
    path = written(tmp_path / "model.safetensors")
    (found,) = relax(ethanol(), path, dtype="float64")
    assert found.converged


def test_the_displacement_is_that_after_superposition():
    atoms = ethanol()
    turned = atoms.copy()
    turned.rotate(70, (1, 2, 3))
    turned.translate([5, 0, -2])
    assert displacement(atoms, turned) == pytest.approx(0, abs=1e-12)
    turned.positions[:, 0] *= -1
    assert displacement(atoms, turned) > 0.05, "a mirror image is another molecule"
    moved = silicon()
    moved.positions[0] += [0.8, 0, 0]
    # one of eight atoms, seen from their common centre
    assert displacement(silicon(), moved) == pytest.approx(0.8 * np.sqrt(7) / 8)


@pytest.mark.parametrize("suffix", [".extxyz", ".traj"])
def test_labels_and_line_breaks_of_the_start_do_not_spoil_the_file(tmp_path, suffix):
    atoms, calculator = stretched()
    atoms.info |= {"energy": -1.23, "text": "two\nlines", "pbc": "no"}
    found = relax(atoms, calculator)
    frame = ase.io.read(found.write(tmp_path / f"out{suffix}"))
    assert frame.get_potential_energy() == pytest.approx(found[0].energy_after)
    assert frame.info["text"].split() == ["two", "lines"]
