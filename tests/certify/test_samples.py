"""What a model is measured on: given structures, some of its data, or molecules and crystals of its elements."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from ase.build import bulk, molecule
from simulation.potentials import potential

from molgen.certify.samples import boxed, chosen_samples, rattled
from molgen.conversion import from_ase
from molgen.errors import ConfigError, InputError, StructureError
from molgen.models.potential import Potential
from molgen.structures import Structures


def of(*symbols: str, **options: object) -> Potential:
    return potential(symbols=symbols, **options)


def test_molecules_cover_the_elements_and_are_different() -> None:
    found = chosen_samples(of("H", "C", "N", "O", "F", "S"))
    assert found.elements == (1, 6, 7, 8, 9, 16)
    assert len(found.structures) == 5
    assert (found.structures.n_atoms >= 3).all()
    assert (found.structures.spin == 1).all()


def test_few_elements_have_the_molecules_that_there_are() -> None:
    assert set(chosen_samples(of("H", "O")).structures.formulas()) <= {"H2O", "H2O2", "O3"}


@pytest.mark.parametrize(("symbol", "atoms"), [("Cu", 8), ("Si", 8), ("Fe", 8), ("Ti", 8)])
def test_an_element_without_molecules_is_a_crystal(symbol: str, atoms: int) -> None:
    found = chosen_samples(of(symbol))
    assert found.structures.pbc.all()
    assert set(found.structures.n_atoms.tolist()) == {atoms}
    assert "crystals" in found.source


def test_what_nothing_can_be_built_of_is_said() -> None:
    with pytest.raises(ConfigError, match="can be built of He; give some structures"):
        chosen_samples(of("He"))
    with pytest.raises(ConfigError, match="can be built of Cu"):
        chosen_samples(of("Cu", encoder={"channels": 4, "layers": 1}))


def test_given_structures_are_taken(tmp_path: Path) -> None:
    atoms = [molecule("CH4"), molecule("H2O"), molecule("NH3")]
    assert chosen_samples(of("H", "C", "N", "O"), atoms, count=2).structures.formulas() == ["CH4", "H2O"]
    atoms[0].write(tmp_path / "methane.xyz")
    found = chosen_samples(of("H", "C"), tmp_path / "methane.xyz")
    assert found.structures.formulas() == ["CH4"]
    assert found.source.endswith("methane.xyz")


def test_what_the_model_cannot_take_is_refused() -> None:
    with pytest.raises(StructureError, match="doesn't know the element F"):
        chosen_samples(of("H", "C"), molecule("HF"))
    with pytest.raises(StructureError, match="periodic"):
        chosen_samples(of("Cu", encoder={"channels": 4, "layers": 1}), bulk("Cu", cubic=True))
    with pytest.raises(InputError, match="no structure of two or more atoms"):
        chosen_samples(of("H", "C"), molecule("CH4")[:1])


def test_data_give_structures_of_each_composition_the_smallest_first() -> None:
    frames = [molecule(name) for name in ("CH4", "C2H6", "CH4", "CH4", "C2H4", "C2H6")]
    data = from_ase(frames).to(torch.float64)
    found = chosen_samples(of("H", "C"), data=data, source="data.extxyz")
    assert found.structures.formulas()[:3] == ["CH4", "C2H4", "C2H6"]
    assert len(found.structures) == 5
    assert found.source == "data.extxyz"
    assert not found.structures.structure_labels


def test_boxes_hold_molecules_with_a_gap_to_their_images() -> None:
    molecules = from_ase([molecule("CH3CH2OH"), molecule("H2O")]).to(torch.float64)
    cells = boxed(molecules)
    assert cells.pbc.all()
    graph = of("H", "C", "O").graph(cells)
    across = graph.cell_shifts.any(1)
    assert across.any()
    assert float(graph.lengths[across].min()) > 1.0


def test_rattling_is_the_same_for_the_same_seed_and_structure() -> None:
    water = from_ase([molecule("H2O")] * 2).to(torch.float64)
    first: Structures = rattled(water, 0.05, seed=1)
    assert torch.equal(first.positions[:3], rattled(water.select([0]), 0.05, seed=1).positions)
    assert not torch.equal(first.positions[:3], first.positions[3:])
    assert float((first.positions - water.positions).std()) == pytest.approx(0.05, rel=0.6)
