"""Errors on labelled data are what they are by construction, with the structures that have them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from simulation.potentials import potential, silicon, written

from molgen.conversion import from_ase
from molgen.errors import ConfigError, InputError, StructureError
from molgen.evaluation import evaluate, write_evaluation
from molgen.evaluation.bootstrap import intervals
from molgen.evaluation.predictions import edge_counts, predict
from molgen.evaluation.writing import write_predictions
from molgen.models.potential import Potential
from molgen.structures import Structures

SAME = 1e-7  # eV, and so on: float64 sums in another order
WRITTEN = 1e-6  # of numbers that a file has with eight digits


def test_errors_are_those_that_were_put_in(model: Potential, labelled: Structures) -> None:
    found = evaluate(model, labelled)
    assert found["energy_per_atom"].rmse.value == pytest.approx(0.01, abs=SAME)
    assert found["energy_per_atom"].mae.n == 12
    assert found["energy_per_atom_shifted"].rmse.value == pytest.approx(0.0, abs=SAME)
    assert found.energy_shift == pytest.approx(0.01, abs=SAME)
    assert found["energy"].mae.value == pytest.approx(0.01 * float(labelled.n_atoms.double().mean()), abs=SAME)
    hydrogens = float((labelled.species == 1).double().mean())
    assert found["forces"].rmse.value == pytest.approx(0.02 * (hydrogens / 3) ** 0.5, abs=SAME)
    assert found["forces"].rmse.n == 3 * len(labelled.species)
    assert found["forces_H"].mae.value == pytest.approx(0.02 / 3, abs=SAME)
    assert found["forces_C"].largest == pytest.approx(0.0, abs=SAME)
    assert found["dipole"].rmse.value == pytest.approx(0.0, abs=SAME)
    assert "charges" not in found.to_json()["errors"]


def test_the_largest_error_is_found_with_its_structure_and_atom(model: Potential, labelled: Structures) -> None:
    forces = labelled.atom_labels["forces"].clone()
    forces[labelled.offsets[7] + 2, 0] += 3.0
    found = evaluate(model, labelled.replace(atom_labels={"forces": forces}))["forces"]
    assert (found.structure, found.atom) == (7, 2)
    assert found.largest == pytest.approx(3.0, abs=0.03)


@pytest.mark.parametrize("limits", [{"batch_size": 1}, {"batch_size": 5, "max_edges": 60}, {"max_edges": 1}])
def test_predictions_do_not_depend_on_the_batches(model: Potential, labelled: Structures, limits: dict) -> None:
    whole, parts = evaluate(model, labelled), evaluate(model, labelled, **limits)
    for name, values in whole.predictions.items():
        assert torch.allclose(parts.predictions[name], values, rtol=0, atol=SAME)


def test_edges_of_each_structure_are_counted(model: Potential, molecules: Structures) -> None:
    one_by_one = [len(model.graph(own).senders) for own in molecules.split()]
    assert edge_counts(model, molecules).tolist() == one_by_one


def test_a_batch_that_does_not_fit_in_memory_is_halved(
    model: Potential, labelled: Structures, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, forward, sizes = evaluate(model, labelled), Potential.forward, []

    def small(self: Potential, structures: Structures, *args: object, **options: object) -> dict:
        sizes.append(len(structures))
        if len(structures) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(self, structures, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Potential, "forward", small)
    found = evaluate(model, labelled)
    assert max(sizes) == 12
    assert torch.allclose(found.predictions["forces"], whole.predictions["forces"], rtol=0, atol=SAME)


def test_stress_is_compared_where_there_is_a_full_cell_alone(model: Potential) -> None:
    crystals = from_ase([silicon(seed=seed) for seed in range(3)]).to(torch.float64)
    right = predict(model, crystals, ["stress"])["stress"]
    off = right + 0.001 * torch.eye(3, dtype=torch.float64)
    pbc = crystals.pbc.clone()
    pbc[2, 2] = False
    found = evaluate(model, crystals.replace(structure_labels={"stress": off}, pbc=pbc))["stress"]
    assert found.structures == 2
    assert found.mae.value == pytest.approx(0.001 / 3, abs=SAME)


def test_what_is_periodic_has_no_dipole(model: Potential, labelled: Structures) -> None:
    pbc, cell = labelled.pbc.clone(), labelled.cell.clone()
    pbc[0], cell[0] = True, 9.0 * torch.eye(3, dtype=torch.float64)
    found = evaluate(model, labelled.replace(pbc=pbc, cell=cell))
    assert found["dipole"].structures == 11
    assert found["energy"].structures == 12


def test_structures_without_a_label_are_left_out(model: Potential, labelled: Structures) -> None:
    energy = labelled.structure_labels["energy"].clone()
    energy[3:] = torch.nan
    found = evaluate(model, labelled.replace(structure_labels={"energy": energy}))
    assert found["energy"].structures == 3
    assert found["forces"].structures == 12


def test_a_limit_draws_structures_that_keep_their_numbers(model: Potential, labelled: Structures) -> None:
    found = evaluate(model, labelled, limit=4, seed=1)
    assert len(found.structures) == 4
    expected = evaluate(model, labelled).predictions["energy"][found.numbers]
    assert torch.allclose(found.predictions["energy"], expected, rtol=0, atol=SAME)
    with pytest.raises(ConfigError, match="limit is 0"):
        evaluate(model, labelled, limit=0)


def test_intervals_hold_the_mean_as_often_as_they_say() -> None:
    rng, held = np.random.default_rng(0), 0
    for trial in range(100):
        sizes = rng.integers(1, 6, 40).astype(float)
        sums = np.array([rng.exponential(1.0, int(size)).sum() for size in sizes])
        low, high = intervals(sums[:, None], sizes, seed=trial)  # type: ignore[misc]
        held += bool(low[0] <= 1.0 <= high[0])
    assert 86 <= held <= 100


def test_a_single_structure_has_no_interval(model: Potential, labelled: Structures) -> None:
    found = evaluate(model, labelled.select([0]))
    assert found["forces"].rmse.low is None
    assert "–" in found.table()


def test_many_structures_are_resampled_in_groups() -> None:
    values = np.random.default_rng(0).exponential(1.0, (20_000, 1))
    low, high = intervals(values, np.ones(20_000))  # type: ignore[misc]
    assert high[0] - low[0] == pytest.approx(2 * 1.96 / 20_000**0.5, rel=0.15)


def test_an_element_that_the_model_does_not_know_is_named(model: Potential, labelled: Structures) -> None:
    species = labelled.species.clone()
    species[labelled.offsets[5]] = 9
    with pytest.raises(StructureError, match=r"doesn't know the element F \(structure 5, atom 0\)"):
        evaluate(model, labelled.replace(species=species))


def test_data_without_a_label_of_the_model_are_refused(model: Potential, molecules: Structures, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="it has no labels"):
        evaluate(model, molecules)
    charges = torch.zeros(len(molecules.species), dtype=torch.float64)
    with pytest.raises(InputError, match=r"it has charges.*energy, forces"):
        evaluate(potential(), molecules.replace(atom_labels={"charges": charges}))


def test_a_prediction_that_is_not_finite_names_its_structure(labelled: Structures) -> None:
    from simulation.potentials import poisoned

    with pytest.raises(StructureError, match=r"is not finite \(structure \d+\)"):
        evaluate(poisoned(potential()), labelled)


def test_atoms_on_top_of_each_other_are_refused_by_the_number_of_the_structure(
    model: Potential, labelled: Structures
) -> None:
    positions = labelled.positions.clone()
    positions[labelled.offsets[7] + 2] = positions[labelled.offsets[7] + 1]
    broken = labelled.replace(positions=positions)
    with pytest.raises(StructureError, match=r"atom \d .* and atom \d .* apart \(structure 7\)"):
        evaluate(model, broken)
    with pytest.raises(StructureError, match=r"apart \(structure 7\)"):
        evaluate(model, broken, limit=11, seed=2)


@pytest.mark.filterwarnings("error")
def test_an_absurd_label_gives_errors_that_json_has_no_number_for(
    model: Potential, labelled: Structures, tmp_path: Path
) -> None:
    energy = labelled.structure_labels["energy"].clone()
    energy[3] = 1e300
    found = evaluate(model, labelled.replace(structure_labels={"energy": energy}))
    write_evaluation(tmp_path / "errors.json", found)
    told = json.loads((tmp_path / "errors.json").read_text())["errors"]["energy"]
    assert told["rmse"]["value"] is None
    assert told["mae"]["value"] == pytest.approx(1e300 / 12)
    assert told["largest"] == {"value": pytest.approx(1e300), "structure": 3, "atom": None}


def test_the_file_of_predictions_is_evaluated_by_its_references(
    model: Potential, labelled: Structures, tmp_path: Path
) -> None:
    found = evaluate(model, labelled)
    write_predictions(tmp_path / "predictions.extxyz", found)
    again = evaluate(model, tmp_path / "predictions.extxyz")
    assert again["forces"].rmse.value == pytest.approx(found["forces"].rmse.value, abs=WRITTEN)
    assert any("'forces' has other values than 'REF_forces'" in note for note in again.notes)


def test_files_hold_errors_and_predictions(labelled: Structures, tmp_path: Path) -> None:
    from ase.io import read

    path = written(tmp_path / "small.safetensors")
    found = evaluate(path, labelled, limit=5)
    write_evaluation(tmp_path / "errors.json", found)
    told = json.loads((tmp_path / "errors.json").read_text())
    assert told == found.to_json()
    assert told["dtype"] == "float32"
    assert told["errors"]["forces"]["rmse"]["low"] <= told["errors"]["forces"]["rmse"]["value"]
    write_predictions(tmp_path / "predictions.extxyz", found)
    frames = read(tmp_path / "predictions.extxyz", index=":")
    assert [frame.info["structure"] for frame in frames] == found.numbers.tolist()
    assert frames[0].get_potential_energy() == pytest.approx(float(found.predictions["energy"][0]), abs=1e-6)
    assert frames[0].info["REF_energy"] == pytest.approx(float(found.structures.structure_labels["energy"][0]))
    assert frames[0].arrays["REF_forces"].shape == (len(frames[0]), 3)
