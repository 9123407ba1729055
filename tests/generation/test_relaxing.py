"""Relaxation of what was drawn: water is pulled in by a potential of random weights and its repulsion."""

from __future__ import annotations

import csv
import json
import math

import ase.io
import numpy as np
import pytest
import torch
from rdkit import Chem
from simulation.potentials import assembled, written

from molgen.chemistry.perception import perceive
from molgen.errors import CheckpointError, ConfigError, RequestError, UnknownComponentError
from molgen.generation import GenerationInterrupted, relaxing
from molgen.generation.relaxed import COLUMNS, RelaxedMolecules
from molgen.models.checkpoint import Checkpoint, write_checkpoint
from molgen.models.loading import load_potential
from molgen.simulation import batched_relaxation
from molgen.structures import Structures

from .conftest import WATER

pytest.importorskip("molgen_egnn", reason="the plugin molgen-egnn is not installed")
pytest.importorskip("molgen_force_field", reason="the plugin molgen-force-field is not installed")

DRAWN = {"molecules.sdf", "molecules.extxyz", "molecules.csv", "metrics.json", "run.json"}
RELAXED = {"relaxed.sdf", "relaxed.extxyz"}


def names(folder):
    return {path.name for path in folder.iterdir()}


def rows(folder):
    with (folder / "molecules.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def potential(tmp_path_factory):
    """Of hydrogen, carbon and oxygen."""
    return written(tmp_path_factory.mktemp("potential") / "tiny.safetensors", symbols=("H", "C", "O"), scale=20.0)


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


@pytest.fixture
def calls(monkeypatch):
    """Relaxations in batches of at most ten atoms; each call of one is noted, and can be made to do something."""
    made, before = [], {}
    relax = batched_relaxation.relax_batch

    def noted(structures, *arguments, **options):
        made.append(structures)
        before.get(len(made), lambda: None)()
        return relax(structures, *arguments, **options)

    monkeypatch.setattr(relaxing, "_MOST_ATOMS", {"cpu": 10})
    monkeypatch.setattr(batched_relaxation, "relax_batch", noted)
    return made, before


@pytest.fixture
def run(generator, drawer, potential, out):
    """Eight molecules, of which the third is no result, relaxed."""
    drawer.broken = {2}
    return generator.generate(8, seed=1, n_atoms="3-5", relax=potential, out=out, report=False)


def test_without_relaxation_nothing_is_said_of_it(generator):
    molecules = generator.generate(2)
    assert molecules.relaxed is None
    assert molecules.strain is None
    assert "strain" not in molecules.metrics


def test_all_that_did_not_fail_is_relaxed_and_strain_is_the_energy_that_this_set_free(generator, potential):
    molecules = generator.generate(6, n_atoms=3, relax=potential)
    module = load_potential(potential).module
    before, after = (module(each.to(torch.float64))["energy"] for each in (molecules.structures, molecules.relaxed))
    assert torch.allclose(molecules.strain, before - after, atol=1e-5)
    assert (molecules.strain > 1e-4).all()
    forces = module(molecules.relaxed)["forces"]
    assert float(torch.linalg.vector_norm(forces, dim=1).max()) < 0.0201
    assert molecules.relaxation.n_converged == 6


def test_what_was_drawn_stays_as_it_is(generator, potential):
    plain, relaxed = generator.generate(6, seed=3), generator.generate(6, seed=3, relax=potential)
    assert torch.equal(plain.structures.positions, relaxed.structures.positions)
    assert plain.metrics.as_dict().items() <= relaxed.metrics.as_dict().items()


def test_molecules_do_not_depend_on_those_that_they_are_relaxed_beside(generator, potential, calls):
    made, _ = calls
    together = generator.generate(8, relax=potential)
    assert len(made) > 2
    alone = generator.generate(8, relax=potential, batch_size=1)
    assert torch.allclose(together.strain, alone.strain, atol=1e-5)
    assert together.relaxed.n_atoms.tolist() == together.structures.n_atoms.tolist()


def test_a_failed_molecule_is_not_relaxed_and_says_why(run):
    assert torch.equal(run.relaxed.positions[run.relaxed.batch == 2], run.structures.positions[run.relaxed.batch == 2])
    assert math.isnan(run.strain[2])
    assert run.relaxation.reasons[2] == "coordinates are not finite from step 2 on"
    assert [reason for place, reason in enumerate(run.relaxation.reasons) if place != 2] == [None] * 7


def test_a_molecule_with_an_unknown_element_keeps_its_place_with_the_reason(generator, drawer, tmp_path, out):
    carbon = written(tmp_path / "carbon.safetensors", symbols=("H", "C"))
    drawer.broken = {0}
    molecules = generator.generate(12, seed=4, n_atoms="3-5", relax=carbon, out=out, report=False)
    waters = [place for place, smiles in enumerate(molecules.smiles) if smiles == "O"]
    assert 0 < len(waters) < 11
    for place in waters:
        assert molecules.relaxation.reasons[place] == "the potential doesn't know O"
    left = sorted({0, *waters})
    assert molecules.relaxation.reasons[0].startswith("coordinates are not finite")
    assert torch.isnan(molecules.strain).nonzero()[:, 0].tolist() == left
    assert (molecules.metrics["strain"].n, molecules.metrics["relaxed"].n) == (12 - len(left), 12)
    assert len(ase.io.read(out / "relaxed.extxyz", index=":")) == 12 - len(left)
    table = rows(out)
    assert [place for place, row in enumerate(table) if row["relaxed"] == "false"] == left
    assert table[waters[0]]["strain_eV"] == table[waters[0]]["kept_bonds"] == ""


def test_what_does_not_converge_is_told_and_counts_against_the_metric(generator, potential, out, monkeypatch):
    monkeypatch.setattr(relaxing, "_STEPS", 1)
    molecules = generator.generate(3, n_atoms=3, relax=potential, out=out, report=False)
    assert molecules.relaxation.reasons == ("not converged after 1 steps",) * 3
    assert "strain" not in molecules.metrics
    assert molecules.metrics["relaxed"].value == 0
    frames = ase.io.read(out / "relaxed.extxyz", index=":")  # kept, and marked
    assert [atoms.info["relax_reason"] for atoms in frames] == ["not converged after 1 steps"] * 3


def test_a_run_has_the_relaxed_structures_beside_those_that_were_drawn(run, out):
    assert names(out) == DRAWN | RELAXED
    frames = ase.io.read(out / "relaxed.extxyz", index=":")
    assert [atoms.info["index"] for atoms in frames] == [0, 1, 3, 4, 5, 6, 7]
    kept = [place for place in range(8) if place != 2]
    energies = run.relaxed.structure_labels["energy"][kept]
    assert [atoms.get_potential_energy() for atoms in frames] == pytest.approx(energies.tolist())
    positions = np.concatenate([atoms.positions for atoms in frames])
    assert positions == pytest.approx(run.relaxed.select(kept).positions.numpy(), abs=1e-8)
    mols = list(Chem.SDMolSupplier(str(out / "relaxed.sdf"), removeHs=False))
    assert [mol.GetIntProp("index") for mol in mols] == [0, 1, 3, 4, 5, 6, 7]
    assert mols[0].GetProp("smiles") == run.smiles[0]
    assert mols[0].GetDoubleProp("strain_eV") == pytest.approx(float(run.strain[0]), abs=1e-6)


def test_the_files_of_what_was_drawn_are_those_of_a_run_without_relaxation(generator, drawer, run, out, tmp_path):
    generator.generate(8, seed=1, n_atoms="3-5", out=tmp_path / "plain", report=False)
    for name in ("molecules.sdf", "molecules.extxyz"):
        assert (tmp_path / "plain" / name).read_bytes() == (out / name).read_bytes()
    plain, relaxed = rows(tmp_path / "plain"), rows(out)
    assert [{key: value for key, value in row.items() if key not in COLUMNS} for row in relaxed] == plain
    assert list(relaxed[0])[-len(COLUMNS) :] == list(COLUMNS)


def test_the_table_and_the_metrics_tell_of_the_relaxation(run, out):
    table, metrics = rows(out), json.loads((out / "metrics.json").read_text())
    assert table[2]["strain_eV"] == table[2]["relax_rmsd"] == ""
    assert table[2]["relax_reason"].startswith("coordinates are not finite")
    fine = [row for place, row in enumerate(table) if place != 2]
    assert all((row["relaxed"], row["kept_bonds"], row["relax_reason"]) == ("true", "true", "") for row in fine)
    strain = sorted(float(row["strain_eV"]) for row in fine)
    assert metrics["strain"]["value"] == pytest.approx(strain[3], abs=1e-6)
    assert metrics["strain_mean"]["value"] == pytest.approx(sum(strain) / 7, abs=1e-6)
    assert metrics["strain"]["low"] <= metrics["strain"]["value"] <= metrics["strain"]["high"]
    assert (metrics["relaxed"]["value"], metrics["kept_bonds"]["value"]) == (7 / 8, 1)
    assert "strain, eV" in run.metrics.table()


def test_every_file_says_which_potential_it_was(run, out, potential):
    sha256 = load_potential(potential).document.tensors_sha256
    record = json.loads((out / "run.json").read_text())["relaxation"]
    assert record["models"] == [{"name": "tiny", "id": None, "tensors_sha256": sha256}]
    assert (record["converged"], record["molecules"], record["dtype"]) == (7, 7, "float32")
    assert ase.io.read(out / "relaxed.extxyz", index=0).info["potential_sha256"] == sha256
    assert next(iter(Chem.SDMolSupplier(str(out / "relaxed.sdf")))).GetProp("potential_sha256") == sha256


def test_the_page_shows_strain_and_relaxed_structures(generator, drawer, potential, out):
    drawer.broken = {2}
    molecules = generator.generate(5, n_atoms=3, relax=potential, out=out)
    page = (out / "report.html").read_text()
    data = json.loads(page.split('id="data">')[1].split("</script>")[0])
    assert set(data["relaxed"]) == set("01234")
    assert data["relaxed"]["0"]["x"] != data["molecules"]["0"]["structure"]["x"]
    assert dict(data["molecules"]["0"]["properties"])["strain (eV)"] == f"{float(molecules.strain[0]):.6g}"
    assert "bonds kept" in data["flags"]
    for told in ("Strain, median", "Strain, eV", "Relaxed with", "Not relaxed:", "coordinates are not finite"):
        assert told in page


def test_relaxed_molecules_can_be_written_later(generator, potential, out):
    molecules = generator.generate(2, n_atoms=3, relax=potential)
    molecules.write(out, report=False)
    assert names(out) == DRAWN | RELAXED


def test_a_run_without_relaxation_removes_the_relaxed_structures_that_it_overwrites(generator, run, out):
    generator.generate(2, out=out, overwrite=True, report=False)
    assert names(out) == DRAWN


def test_a_potential_in_memory_relaxes_too(generator, out):
    generator.generate(1, n_atoms=3, relax=assembled(symbols=("H", "O")).module, out=out, report=False)
    assert json.loads((out / "run.json").read_text())["relaxation"]["models"] == []
    assert "potential" not in ase.io.read(out / "relaxed.extxyz").info


def test_bonds_are_kept_where_the_same_atoms_are_bonded():
    water = Structures.build(WATER[1], WATER[0])
    apart = water.replace(positions=water.positions * torch.tensor([[1.0], [1.0], [3.0]]))
    label = {"energy": torch.tensor([-1.0])}
    for structure, kept in ((water, True), (apart, False)):
        relaxed = RelaxedMolecules(
            structure.replace(structure_labels=label),
            strain=torch.zeros(1),
            rmsd=torch.zeros(1),
            reasons=[None],
            drawn=perceive(water),
        )
        assert relaxed.kept_bonds == [kept]


# what stands when something goes wrong


def test_all_that_was_drawn_is_written_before_the_first_relaxation(generator, potential, out, calls):
    made, before = calls
    seen = []
    before[1] = lambda: seen.append((names(out), len(rows(out))))
    generator.generate(4, relax=potential, out=out)
    assert seen == [(DRAWN | {"report.html"}, 4)]
    assert len(made) > 1


def test_an_interrupt_keeps_what_was_relaxed_and_names_the_rest(generator, potential, out, calls):
    _, before = calls

    def interrupt():
        raise KeyboardInterrupt

    before[2] = interrupt
    with pytest.raises(GenerationInterrupted) as stopped:
        generator.generate(8, n_atoms=3, relax=potential, out=out, report=False)
    molecules = stopped.value.molecules
    assert (len(molecules), molecules.relaxation.n_converged) == (8, 3)
    assert names(out) == DRAWN | RELAXED
    reasons = [row["relax_reason"] for row in rows(out)]
    assert reasons.count("") == 3
    assert reasons.count("interrupted before it was relaxed") == 5
    assert molecules.metrics["relaxed"].value == 3 / 8


def test_a_relaxation_that_breaks_leaves_what_was_drawn(generator, potential, out, calls):
    def broken():
        raise RuntimeError("no reason")

    calls[1][2] = broken
    with pytest.raises(RuntimeError, match="no reason"):
        generator.generate(8, relax=potential, out=out, report=False)
    assert names(out) == DRAWN
    assert len(rows(out)) == 8


def test_results_that_can_not_be_written_leave_what_was_drawn(generator, potential, out, monkeypatch):
    monkeypatch.setattr(
        "molgen.generation.writing._write_relaxed", lambda *_: (_ for _ in ()).throw(OSError(28, "full"))
    )
    with pytest.raises(OSError, match="full"):
        generator.generate(3, relax=potential, out=out, report=False)
    assert names(out) == DRAWN


# what is refused before anything is drawn


def test_an_unknown_potential_is_refused_before_the_first_step(generator, drawer, out):
    with pytest.raises(UnknownComponentError, match="organcis"):
        generator.generate(1, relax="organcis", out=out)
    assert not drawer.seen
    assert not out.exists()


def test_a_generator_is_no_potential(generator, drawer, document, module, tmp_path):
    path = tmp_path / "drawer.safetensors"
    write_checkpoint(path, Checkpoint(document, module.state_dict()))
    with pytest.raises(CheckpointError, match=r"the model is a generator.*expected a potential"):
        generator.generate(1, relax=path)
    with pytest.raises(ConfigError, match="a Generator is no potential"):
        generator.generate(1, relax=generator)
    assert not drawer.seen


def test_a_potential_without_energies_tells_no_strain(generator, drawer, tmp_path):
    path = written(tmp_path / "forces.safetensors", heads=("direct-forces",))
    with pytest.raises(RequestError, match="forces alone tells no strain"):
        generator.generate(1, relax=path)
    assert not drawer.seen


def test_potentials_of_a_committee_are_all_named(generator, potential, out, tmp_path):
    other = written(tmp_path / "other.safetensors", symbols=("H", "C", "O"), seed=1)
    molecules = generator.generate(2, n_atoms=3, relax=[potential, other], out=out, report=False)
    assert [each["name"] for each in molecules.record["relaxation"]["models"]] == ["tiny", "other"]
    assert ase.io.read(out / "relaxed.extxyz", index=0).info["potential"] == "tiny other"
