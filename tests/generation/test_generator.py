import pytest
import torch

import molgen
import molgen.generation
from molgen.errors import CheckpointError, ConfigError, RequestError, UnknownComponentError
from molgen.generation import GenerationInterrupted, load
from molgen.generation.precision import choose_precision


def test_molecules_come_in_the_order_of_their_indices(generator):
    molecules = generator.generate(30, seed=5, batch_size=4)
    assert molecules.indices == tuple(range(30))
    assert len(molecules) == molecules.n_asked == molecules.n_results == 30
    by_size = {3: "O", 5: "C", 8: "CC"}
    assert molecules.smiles == [by_size[n] for n in molecules.structures.n_atoms.tolist()]


def test_the_same_request_gives_the_same_molecules_to_the_bit(generator):
    first, second = (generator.generate(20, seed=5).structures for _ in range(2))
    assert torch.equal(first.positions, second.positions)
    assert torch.equal(first.species, second.species)


def test_the_batch_size_changes_no_molecule(generator):
    first, second = (generator.generate(20, seed=5, batch_size=size).structures for size in (20, 3))
    assert first.n_atoms.tolist() == second.n_atoms.tolist()
    assert torch.allclose(first.positions, second.positions, atol=1e-6)


def test_more_molecules_begin_with_the_fewer_ones(generator):
    few, many = generator.generate(7, seed=2).structures, generator.generate(20, seed=2).structures
    assert torch.allclose(many.select(range(7)).positions, few.positions, atol=1e-6)


def test_another_seed_gives_other_molecules(generator):
    first, second = (generator.generate(5, seed=seed, n_atoms=5).structures for seed in (0, 1))
    assert not torch.allclose(first.positions, second.positions, atol=1e-3)


def test_the_numbers_of_atoms_are_those_asked_for(generator):
    assert generator.generate(6, n_atoms=8).structures.n_atoms.tolist() == [8] * 6
    assert set(generator.generate(40, n_atoms="3-5").structures.n_atoms.tolist()) == {3, 5}


def test_the_sampler_s_own_number_of_steps_is_taken_and_can_be_set(generator, drawer):
    generator.generate(1)
    generator.generate(1, n_steps=7)
    assert [request.n_steps for request in drawer.seen] == [4, 7]


@pytest.mark.parametrize(
    "request_",
    [
        {"n": 0},
        {"n": 1.5},
        {"n": 1, "seed": 2**64},
        {"n": 1, "n_atoms": 99},
        {"n": 1, "n_steps": 0},
        {"n": 1, "batch_size": 0},
        {"n": 1, "composition": "C6H12O2"},
        {"n": 1, "guidance": 2.0},
        {"n": 1, "targets": {"gap": 3.0}},
        {"n": 1, "trajectory": True},
    ],
)
def test_a_request_that_can_not_be_met_is_refused_before_the_first_step(generator, drawer, request_):
    with pytest.raises(RequestError):
        generator.generate(**request_)
    assert not drawer.seen


def test_a_refused_request_leaves_no_folder(generator, tmp_path):
    with pytest.raises(RequestError):
        generator.generate(1, n_atoms=99, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_sampler_that_can_not_invert_the_model_is_refused_with_its_reason(generator, drawer, monkeypatch):
    monkeypatch.setattr(drawer, "accepts", lambda process: "it was trained with transport coupling")
    with pytest.raises(RequestError, match=r"molgen-test:drawer can't draw .* transport coupling"):
        generator.generate(1)


def test_failed_molecules_keep_their_place_and_count_against_every_metric(generator, drawer):
    drawer.broken = {0, 3}
    molecules = generator.generate(4, n_atoms=5)
    assert molecules.smiles == [None, "C", "C", None]
    assert [row["status"] for row in molecules.flags] == ["failed", "ok", "ok", "failed"]
    assert molecules.flags[0]["reason"] == "coordinates are not finite from step 2 on"
    assert molecules.n_results == 2
    stability = ("d1_atom_stability", "d1_molecule_stability", "d2_atom_stability", "d2_molecule_stability")
    for name in (*stability, "validity", "connected_validity"):
        assert molecules.metrics[name].value == 0.5, name
    assert (molecules.metrics["validity"].n, molecules.metrics["d1_atom_stability"].n) == (4, 20)


def test_metrics_agree_with_the_flags_of_the_molecules(generator):
    molecules = generator.generate(12)
    for metric, flag in (
        ("d1_molecule_stability", "stable"),
        ("validity", "valid"),
        ("connected_validity", "connected"),
    ):
        assert molecules.metrics[metric].value == sum(bool(row[flag]) for row in molecules.flags) / 12


def test_metrics_are_those_that_score_gives_where_nothing_failed(generator):
    molecules = generator.generate(12)
    assert molecules.metrics.as_dict() == molgen.score(molecules).as_dict()


def test_the_reference_of_the_model_stands_beside_the_metrics(generator):
    molecules = generator.generate(1)
    assert molecules.metrics.reference["validity"].value == 0.9775
    assert "97.75" in molecules.metrics.table()


@pytest.mark.parametrize("junk", [None, 3, [], {"validity": 1}, {"validity": {"value": "x"}}, {"unknown": {}}])
def test_a_malformed_reference_is_no_reference(generator, document, junk):
    generator._loaded = type(generator._loaded)(
        generator._loaded.sampler,
        generator._loaded.module,
        document.model_copy(update={"training": {"reference_metrics": junk, "reference_histograms": junk}}),
        generator.schema,
        generator.process,
        None,
    )
    assert generator.generate(1).reference is None


def test_an_interrupt_hands_over_what_was_finished(generator, drawer):
    drawer.interrupt_at = 2
    with pytest.raises(GenerationInterrupted) as stopped:
        generator.generate(12, batch_size=4)
    assert len(stopped.value.molecules) == 8
    assert isinstance(stopped.value, KeyboardInterrupt)


def test_an_interrupt_before_the_first_batch_hands_over_nothing(generator, drawer, tmp_path):
    drawer.interrupt_at = 0
    with pytest.raises(GenerationInterrupted) as stopped:
        generator.generate(12, out=tmp_path / "out")
    assert stopped.value.molecules is None
    assert not (tmp_path / "out").exists()


def test_threads_of_torch_are_left_alone(generator):
    before = torch.get_num_threads()
    generator.generate(2)
    assert torch.get_num_threads() == before


def test_a_name_that_no_model_has_is_refused():
    with pytest.raises(UnknownComponentError, match="qm8"):
        load("qm8")


def test_a_path_where_nothing_is_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match=r"nothing\.safetensors"):
        load(tmp_path / "nothing.safetensors")


def test_a_dtype_that_no_model_computes_in_is_refused(generator):
    with pytest.raises(ConfigError, match="dtype is float16; expected auto or float32 or float64 or bf16-mixed"):
        choose_precision("float16", generator.document, torch.device("cpu"))


def test_the_public_names_are_these():
    assert set(molgen.generation.__all__) == {"GeneratedMolecules", "GenerationInterrupted", "Generator", "load"}


@pytest.mark.parametrize(
    ("trained", "wanted", "fast", "expected"),
    [
        ("bf16-mixed", None, True, "bf16-mixed"),
        ("bf16-mixed", "auto", False, "float32"),
        ("32-true", "auto", True, "float32"),
        (None, None, True, "float32"),
        ("bf16-mixed", "float64", True, "float64"),
        ("32-true", "bf16-mixed", False, "bf16-mixed"),
    ],
)
def test_products_run_in_bfloat16_where_the_model_was_trained_so_and_the_device_is_fast(
    monkeypatch, generator, trained, wanted, fast, expected
):
    monkeypatch.setattr("molgen.generation.precision._fast_bfloat16", lambda device: fast)
    document = generator.document.model_copy(update={"training": {"options": {"precision": trained}}})
    chosen = choose_precision(wanted, document, torch.device("cpu"))
    assert chosen.name == expected
    assert chosen.dtype == (torch.float64 if expected == "float64" else torch.float32)
