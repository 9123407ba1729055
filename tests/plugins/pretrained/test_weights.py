"""The shipped models load by name, say the truth about themselves, and give molecules."""

from __future__ import annotations

from pathlib import Path

import pytest
from ase.build import molecule
from ase.io import read

import molgen
from molgen.host.registry import registry
from molgen.models.checkpoint import certification, read_checkpoint, read_document
from molgen.models.zoo import locate

ROOT = Path(__file__).parents[3]
MODELS = sorted(component.component.name for component in registry().components("model"))


@pytest.mark.parametrize("name", MODELS)
def test_a_shipped_model_is_small_and_its_card_speaks_of_its_tensors(name: str) -> None:
    path = locate(name)
    document = read_checkpoint(path).document  # hashes are checked
    assert path.stat().st_size <= 10_000_000
    card = path.with_suffix(".md").read_text(encoding="utf-8")
    assert document.tensors_sha256 is not None
    assert document.tensors_sha256 in card
    assert f"{document.training['samples']:,}" in card
    for figure in document.training.get("metrics", {}).values():
        assert f"{100 * figure['value']:.1f} ({100 * figure['low']:.1f}–{100 * figure['high']:.1f})" in card


def test_qm9_gives_molecules_as_stable_as_its_card_says() -> None:
    generator = molgen.load("qm9")
    molecules = generator.generate(24, seed=11, n_steps=50, progress=False)
    stable = molecules.metrics["d1_atom_stability"].value
    # half the steps of the card, and 24 molecules: five standard errors of a fraction near 0.95 over about 430 atoms
    assert stable >= generator.document.training["metrics"]["d1_atom_stability"]["value"] - 0.1
    assert molecules.n_results == 24


@pytest.mark.parametrize("name", ["organics", "organics-gaunt"])
def test_a_shipped_potential_is_certified_and_as_near_to_its_data_as_its_card_says(name: str) -> None:
    path = locate(name)
    document = read_document(path)
    assert path.stat().st_size <= 5_000_000
    assert certification(document) == (True, "certified")
    found = molgen.evaluate(name, ROOT / "data/organics/test_molecules.extxyz.xz", limit=150)
    stated = document.training["errors"]["test_molecules"]["forces"]["rmse"]
    measured = next(each for each in found.errors if each.name == "forces").rmse
    # 150 of some thousand structures, and a tail of forces on distorted ones
    assert 0.6 * stated["value"] <= measured.value <= 1.5 * stated["value"]


def test_ethanol_relaxes_to_the_lengths_of_its_bonds_and_keeps_its_energy_in_motion(tmp_path: Path) -> None:
    relaxed = molgen.relax(ethanol := molecule("CH3CH2OH"), "organics", fmax=0.01)[0]
    assert relaxed.converged
    assert relaxed.atoms.get_distance(0, 1) == pytest.approx(1.51, abs=0.04)  # C–C of GFN2-xTB: 1.51 Å
    assert relaxed.energy_after < relaxed.energy_before
    done = molgen.run_md(relaxed.atoms, "organics", tmp_path / "md.traj", steps=200, ensemble="nve", temperature=300)
    energies = [atoms.get_total_energy() for atoms in read(tmp_path / "md.traj", ":")]
    assert len(energies) >= 10
    assert max(energies) - min(energies) < 0.02 * len(ethanol)
    assert done is not None
