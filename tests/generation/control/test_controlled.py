"""Controls on whole runs: exact with every sampler and codec, reported as measured, the same whatever the batches."""

from __future__ import annotations

import csv
import json

import pytest
import torch
from ase.build import molecule

from molgen.errors import RequestError
from molgen.generation import Generator
from molgen.generation.precision import Precision
from molgen.interfaces import Schema
from molgen.models.assembly import assemble_generator
from molgen.models.restoration import Loaded

SCHEMA = Schema(elements=(1, 6, 7, 8), size_counts={6: 2, 9: 3, 12: 1})
STATISTICS = {"sigma_data": 1.4, "average_neighbors": 8.0}
ENCODER = {"use": "egnn", "config": {"channels": 16, "layers": 2}}
SAMPLERS = {
    "karras-masked": {"use": "karras", "config": {"codec": {"kind": "masked"}}},
    "karras-gaussian": {"use": "karras", "config": {"codec": {"kind": "gaussian"}}},
    "karras-heun": {"use": "karras", "config": {"order": 2}},
    "edm": {"use": "edm", "config": {}},
}


class Ref:
    def __init__(self, use, config):
        self.use, self.config = use, config


def made(name: str) -> Generator:
    torch.manual_seed(0)
    assembled = assemble_generator(Ref(**ENCODER), Ref(**SAMPLERS[name]), SCHEMA, STATISTICS)
    document = assembled.document("small", SCHEMA, STATISTICS, data_fingerprint="0" * 64, seed=0)
    document = document.model_copy(update={"tensors_sha256": "ab" * 32})
    module = assembled.module.eval()
    return Generator(Loaded(assembled.sampler, module, document, SCHEMA, module.process, None), Precision("float32"))


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("n_steps", [1, 2, 9])
def test_every_molecule_has_the_composition_that_was_asked_for(name, n_steps):
    molecules = made(name).generate(5, composition="C2H6O", n_steps=n_steps, progress=False)
    assert molecules.structures.formulas() == ["C2H6O"] * 5
    assert molecules.metrics["composition_kept"].value == 1.0


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_molecule_has_the_substructure_up_to_rotation_and_translation(name):
    hydroxyl = molecule("CH3OH")[[0, 1, 3]]
    molecules = made(name).generate(5, scaffold=hydroxyl, n_steps=9, progress=False)
    assert molecules.metrics["scaffold_kept"].value == 1.0
    wanted = torch.pdist(torch.from_numpy(hydroxyl.positions))
    for one in molecules.structures.split():
        assert one.species[:3].tolist() == hydroxyl.numbers.tolist()
        assert torch.allclose(torch.pdist(one.positions[:3].double()), wanted, atol=1e-4)


def test_both_hold_together_and_the_files_say_so(tmp_path):
    hydroxyl = molecule("CH3OH")[[0, 1]]
    generator = made("karras-masked")
    molecules = generator.generate(
        4, composition="C2H6O", scaffold=hydroxyl, n_steps=6, out=tmp_path / "out", report=False, progress=False
    )
    assert molecules.metrics["composition_kept"].value == molecules.metrics["scaffold_kept"].value == 1.0
    assert "composition_kept" in molecules.metrics.table()
    request = json.loads((tmp_path / "out" / "run.json").read_text())["request"]
    assert request["composition"] == "C2H6O"
    assert (request["scaffold"]["formula"], request["scaffold"]["file"]) == ("CO", None)
    with (tmp_path / "out" / "molecules.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["scaffold_kept"] for row in rows] == ["true"] * 4
    assert json.loads((tmp_path / "out" / "metrics.json").read_text())["scaffold_kept"]["n"] == 4


def test_controlled_molecules_do_not_depend_on_the_batches():
    generator, request = made("karras-masked"), {"composition": "C2H6O", "n_steps": 4, "progress": False}
    whole = generator.generate(6, **request).structures
    parts = generator.generate(6, batch_size=2, **request).structures
    assert torch.equal(whole.species, parts.species)
    assert torch.allclose(whole.positions, parts.positions, atol=1e-4)
    assert not torch.equal(whole.species, generator.generate(6, seed=1, **request).structures.species)


def test_a_function_that_guides_moves_molecules_its_way():
    generator = made("karras-masked")

    def spread(structures):
        centred = structures.positions.square().sum(1)
        return torch.zeros(len(structures), dtype=centred.dtype).index_add(0, structures.batch, centred)

    free = generator.generate(8, n_steps=20, progress=False)
    guided = generator.generate(8, n_steps=20, guide=spread, guidance=5.0, progress=False)
    assert torch.equal(free.structures.n_atoms, guided.structures.n_atoms)
    assert (spread(guided.structures) < spread(free.structures)).all()
    assert guided.record["request"]["guide"] == ["spread"]


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda structures: 1.0, "returned float for 2 structures"),
        (lambda structures: structures.positions.sum(), r"returned \(\) for 2 structures"),
        (lambda structures: torch.zeros(2), "does not depend on the positions differentiably"),
    ],
)
def test_a_function_that_can_not_guide_is_refused(function, words):
    with pytest.raises(RequestError, match=words):
        made("karras-masked").generate(2, n_steps=5, n_atoms=6, guide=function, progress=False)


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        ({"composition": "C2H6O", "n_atoms": 6}, "C2H6O has 9 atoms, and 6 to 6 are asked for"),
        ({"composition": "CH4"}, "molecules of 5 atoms are outside what the model has seen"),
        ({"composition": "C2H6O", "scaffold": molecule("N2")}, "C2H6O does not hold the substructure N2"),
        ({"scaffold": molecule("CH3CH2OH"), "n_atoms": 6}, "can't hold a substructure of 9"),
        ({"guidance": 1.0}, "nothing that guides"),
        ({"guide": "organics", "guidance": 0.0}, "weight is 0.0"),
        ({"guide": "organics", "guidance": -1.0}, "weight is -1.0"),
    ],
)
def test_what_contradicts_itself_is_refused_before_the_first_step(request_, words):
    with pytest.raises(RequestError, match=words):
        made("karras-masked").generate(2, progress=False, **request_)


@pytest.mark.parametrize(("given", "evaluations"), [({}, 4 * 5 + 1), ({"resampling": 2}, 2 * 5 + 1)])
def test_steps_are_taken_again_where_a_substructure_is_given(given, evaluations, monkeypatch):
    generator = made("karras-masked")
    calls = []
    forward = type(generator._loaded.module).forward
    monkeypatch.setattr(type(generator._loaded.module), "forward", lambda *a: calls.append(1) or forward(*a))
    sampler = {"use": "karras", "config": given}
    generator.generate(2, n_atoms=6, scaffold=molecule("N2"), n_steps=6, sampler=sampler, progress=False)
    assert len(calls) == evaluations
