import csv
import json

import ase.io
import pytest
from rdkit import Chem

from molgen.errors import OutputError
from molgen.generation import GenerationInterrupted
from molgen.generation.run_folder import FILES

PLAIN = {"molecules.sdf", "molecules.extxyz", "molecules.csv", "metrics.json", "run.json"}


def names(folder):
    return {path.name for path in folder.iterdir()}


def rows(folder):
    with (folder / "molecules.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.fixture
def out(tmp_path):
    return tmp_path / "runs" / "out"


@pytest.fixture
def broken_run(generator, drawer, out):
    """Eight methanes, of which the third is no result."""
    drawer.broken = {2}
    generator.generate(8, seed=1, n_atoms=5, batch_size=3, out=out, report=False)
    return out


def test_a_run_writes_its_files_and_nothing_else(generator, out):
    generator.generate(3, out=out)
    assert names(out) == PLAIN | {"report.html"}


def test_the_sdf_has_bonds_and_says_where_each_molecule_comes_from(broken_run):
    mols = list(Chem.SDMolSupplier(str(broken_run / "molecules.sdf"), removeHs=False))
    assert [mol.GetNumBonds() for mol in mols] == [4] * 7
    assert mols[2].GetPropsAsDict() == {
        "model": "drawer",
        "model_sha256": "ab" * 32,
        "sampler": "molgen-test:drawer",
        "steps": 4,
        "seed": 1,
        "index": 3,
        "smiles": "C",
        "formula": "CH4",
        "n_atoms": 5,
        "stable": "true",
        "valid": "true",
        "connected": "true",
        "bonds": "rdkit",
        "status": "ok",
    }


def test_the_extended_xyz_has_all_molecules_in_order_with_their_marks(broken_run):
    frames = ase.io.read(broken_run / "molecules.extxyz", index=":")
    assert [atoms.info["index"] for atoms in frames] == list(range(8))
    assert [atoms.info["status"] for atoms in frames] == ["ok"] * 2 + ["failed"] + ["ok"] * 5
    assert frames[2].info["reason"] == "coordinates are not finite from step 2 on"
    assert frames[2].info["valid"] is False or not frames[2].info["valid"]
    assert frames[3].info["smiles"] == "C"


def test_what_has_no_bonds_is_in_the_extended_xyz_and_not_in_the_sdf(generator, out, monkeypatch):
    from molgen.chemistry import perception

    monkeypatch.setattr(
        perception, "_refusal", lambda bare: "no bonds for this one" if len(bare.species) == 3 else None
    )
    molecules = generator.generate(8, n_atoms="3-5", out=out, report=False)
    waters = molecules.structures.n_atoms.tolist().count(3)
    assert 0 < waters < 8
    assert len(Chem.SDMolSupplier(str(out / "molecules.sdf"))) == 8 - waters
    frames = ase.io.read(out / "molecules.extxyz", index=":")
    assert [atoms.info["status"] for atoms in frames] == ["no bonds" if len(atoms) == 3 else "ok" for atoms in frames]
    assert molecules.n_results == 8


def test_the_table_has_one_row_per_molecule(broken_run):
    table = rows(broken_run)
    assert [row["index"] for row in table] == [str(index) for index in range(8)]
    assert (table[0]["smiles"], table[0]["formula"], table[0]["stable"], table[0]["status"]) == (
        "C",
        "CH4",
        "true",
        "ok",
    )
    assert (table[2]["smiles"], table[2]["valid"], table[2]["status"]) == ("", "false", "failed")


def test_the_metrics_have_value_interval_and_number(broken_run):
    metrics = json.loads((broken_run / "metrics.json").read_text())
    assert metrics["validity"]["value"] == 7 / 8
    assert all(set(metric) == {"value", "low", "high", "n"} for metric in metrics.values())


def test_the_record_holds_request_plan_and_outcome(broken_run):
    run = json.loads((broken_run / "run.json").read_text())
    assert run["request"]["n"] == 8
    assert run["request"]["n_atoms"] == "5"
    assert sorted(index for batch in run["plan"]["batches"] for index in batch["indices"]) == list(range(8))
    assert run["outcome"] == {"molecules": 8, "results": 7, "asked": 8}
    assert run["model"]["tensors_sha256"] == "ab" * 32
    assert run["timing"]["molecules_per_second"] > 0
    assert {"molgen", "torch", "rdkit"} <= set(run["versions"])


def test_the_trajectory_has_the_way_of_each_molecule_in_order(generator, drawer, out):
    drawer.broken = {1}
    generator.generate(5, n_atoms="3-5", batch_size=2, n_steps=3, out=out, trajectory=True, report=False)
    frames = ase.io.read(out / "trajectory.extxyz", index=":")
    way = [(atoms.info["index"], atoms.info["step"]) for atoms in frames]
    assert way == [(index, step) for index in range(5) for step in range(4) if index != 1 or step < 2]
    assert frames[0].info["noise_level"] > frames[3].info["noise_level"]


@pytest.mark.parametrize("content", ["molecules.sdf", "notes.txt"])
def test_a_folder_that_holds_something_is_refused_before_sampling(generator, drawer, out, content):
    out.mkdir(parents=True)
    (out / content).write_text("mine")
    with pytest.raises(OutputError, match=r"not empty.*--overwrite"):
        generator.generate(1, out=out)
    assert (out / content).read_text() == "mine"
    assert not drawer.seen


def test_an_empty_folder_is_taken(generator, out):
    out.mkdir(parents=True)
    generator.generate(1, out=out, report=False)
    assert names(out) == PLAIN


def test_overwriting_replaces_molgen_s_files_and_spares_others(generator, out):
    generator.generate(5, out=out, trajectory=True)
    (out / "notes.txt").write_text("mine")
    generator.generate(2, out=out, overwrite=True, report=False)
    assert names(out) == PLAIN | {"notes.txt"}
    assert len(rows(out)) == 2
    assert (out / "notes.txt").read_text() == "mine"


def test_an_overwriting_run_that_fails_leaves_the_old_results(generator, drawer, out, monkeypatch):
    generator.generate(5, out=out, report=False)
    monkeypatch.setattr(drawer, "sample", lambda *_: iter(()))
    with pytest.raises(Exception, match="gave no state"):
        generator.generate(2, out=out, overwrite=True, report=False)
    assert names(out) == PLAIN
    assert len(rows(out)) == 5


def test_a_file_in_the_way_is_never_replaced(generator, tmp_path):
    (tmp_path / "out").write_text("mine")
    with pytest.raises(OutputError, match="is a file"):
        generator.generate(1, out=tmp_path / "out", overwrite=True)
    assert (tmp_path / "out").read_text() == "mine"


def test_a_place_that_can_not_be_made_is_refused(generator, drawer, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="can't write"):
        generator.generate(1, out=tmp_path / "file" / "out")
    assert not drawer.seen


def test_an_interrupt_writes_the_finished_batches_and_keeps_them_for_later(generator, drawer, out):
    drawer.interrupt_at = 2
    with pytest.raises(GenerationInterrupted):
        generator.generate(12, batch_size=4, out=out, trajectory=True)
    assert names(out) == {name for name in FILES if not name.startswith("relaxed")} | {".partial"}
    assert len(rows(out)) == 8
    outcome = json.loads((out / "run.json").read_text())["outcome"]
    assert outcome == {"molecules": 8, "results": 8, "asked": 12}
    assert len(list((out / ".partial").glob("batch-*.safetensors"))) == 2


def test_finished_batches_are_on_the_disk_before_the_next_one_starts(generator, drawer, out, monkeypatch):
    present = []
    sample = drawer.sample

    def watch(*arguments):
        present.append(len(list((out / ".partial").glob("batch-*.safetensors"))))
        yield from sample(*arguments)

    monkeypatch.setattr(drawer, "sample", watch)
    generator.generate(12, batch_size=4, out=out, report=False)
    assert present == list(range(len(present)))
    assert len(present) >= 3


def test_molecules_can_be_written_later(generator, out):
    molecules = generator.generate(3)
    assert molecules.write(out) == out
    assert names(out) == PLAIN | {"report.html"}
    with pytest.raises(OutputError):
        molecules.write(out)
    molecules.write(out, overwrite=True, report=False)
    assert names(out) == PLAIN
