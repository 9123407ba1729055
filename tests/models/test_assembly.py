"""Components become a model, the model a file, and the file the same model again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from molgen.errors import BrokenPluginError, CheckpointError, ConfigError, UnknownComponentError
from molgen.host.registry import Registry
from molgen.interfaces import Noisy, Process, Schema
from molgen.models.assembly import Assembled, assemble_generator, check_generator, encoder_builder
from molgen.models.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from molgen.models.document import ElementRecord, PotentialRecord
from molgen.models.restoration import OWN_DISTRIBUTIONS, restore
from molgen.structures import Structures

MakeRegistry = Callable[..., Registry]

SCHEMA = Schema(elements=(1, 6, 8), size_counts={3: 1})
STATISTICS = {"sigma_data": 1.3, "average_neighbors": 2.0}


def reference(use: str = "toy", **config: object) -> SimpleNamespace:
    """A component as a config names it."""
    return SimpleNamespace(use=use, config=config)


def assembled(source: Registry, **config: object) -> Assembled:
    return assemble_generator(reference(**config), "toy", SCHEMA, STATISTICS, source=source)


def saved(path: Path, made: Assembled, tensors: dict | None = None) -> Path:
    document = made.document("toy", SCHEMA, STATISTICS, seed=3)
    write_checkpoint(path, Checkpoint(document, made.module.state_dict() if tensors is None else tensors))
    return path


def answer(module: torch.nn.Module) -> torch.Tensor:
    """What a denoiser makes of a fixed noisy molecule."""
    dtype = next(module.parameters()).dtype
    positions = torch.tensor([[0.0, 0, 0.1], [1.1, 0, -0.1], [-1.1, 0, 0]], dtype=dtype)
    noisy = Noisy(Structures.build(positions, [8, 1, 1]), torch.tensor([0, 1, 3]), torch.tensor([0.7], dtype=dtype))
    denoised = module(noisy)
    return torch.cat((denoised.positions, denoised.logits), dim=1)


def test_a_restored_model_answers_to_the_bit(toy_registry: MakeRegistry, tmp_path: Path) -> None:
    made = assembled(toy_registry(), channels=6)
    path = saved(tmp_path / "toy.safetensors", made)
    loaded = restore(read_checkpoint(path), source=toy_registry())
    assert torch.equal(answer(loaded.module), answer(made.module))
    assert not loaded.module.training
    assert loaded.schema == SCHEMA
    assert loaded.process == made.process
    assert loaded.path == path


def test_the_document_records_the_whole_tree_with_its_defaults(toy_registry: MakeRegistry) -> None:
    record = assembled(toy_registry(), channels=6).components["encoder"]
    assert record.use == "molgen-toy:toy"
    assert record.distribution_version == "1.2.0"
    assert record.config == {
        "channels": 6,
        "edges": "complete",
        "cutoff": None,
        "product": {"use": "molgen-toy:product", "config": {"scale": 1.0}},
    }
    assert record.prefix == "encoder."
    part = record.parts["product"]
    assert (part.kind, part.use, part.component_version) == ("tensor_product", "molgen-toy:product", 1)


def test_restoring_leaves_the_global_state_of_torch_alone(toy_registry: MakeRegistry, tmp_path: Path) -> None:
    checkpoint = read_checkpoint(saved(tmp_path / "toy.safetensors", assembled(toy_registry())))
    before = torch.random.get_rng_state()
    restore(checkpoint, source=toy_registry())
    check_generator("toy", "toy", source=toy_registry())
    assert torch.equal(torch.random.get_rng_state(), before)


def test_training_on_after_restoring_does_not_change_the_checkpoint(toy_registry: MakeRegistry, tmp_path: Path) -> None:
    checkpoint = read_checkpoint(saved(tmp_path / "toy.safetensors", assembled(toy_registry())))
    before = {name: tensor.clone() for name, tensor in checkpoint.tensors.items()}
    loaded = restore(checkpoint, source=toy_registry())
    with torch.no_grad():
        for parameter in loaded.module.parameters():
            parameter.add_(1.0)
    assert all(parameter.requires_grad for parameter in loaded.module.parameters())
    assert all(torch.equal(checkpoint.tensors[name], before[name]) for name in before)


@pytest.mark.parametrize("default", [torch.float32, torch.float64])
@pytest.mark.parametrize("asked", [None, torch.float64])
def test_the_dtype_is_that_of_the_file_unless_asked_otherwise(
    toy_registry: MakeRegistry, tmp_path: Path, default: torch.dtype, asked: torch.dtype | None
) -> None:
    checkpoint = read_checkpoint(saved(tmp_path / "toy.safetensors", assembled(toy_registry())))
    torch.set_default_dtype(default)
    try:
        module = restore(checkpoint, dtype=asked, source=toy_registry()).module
    finally:
        torch.set_default_dtype(torch.float32)
    kinds = {tensor.dtype for tensor in module.state_dict().values() if tensor.is_floating_point()}
    assert kinds == {asked or torch.float32}
    assert answer(module).dtype == (asked or torch.float32)
    assert module.encoder.seen.dtype == torch.int64


def test_weights_in_float64_keep_all_their_digits(toy_registry: MakeRegistry, tmp_path: Path) -> None:
    made = assembled(toy_registry())
    made.module.to(torch.float64)
    with torch.no_grad():
        for parameter in made.module.parameters():
            parameter.add_(torch.pi * 1e-9)
    document = made.document("toy", SCHEMA, STATISTICS, dtype="float64")
    write_checkpoint(tmp_path / "toy.safetensors", Checkpoint(document, made.module.state_dict()))
    loaded = restore(read_checkpoint(tmp_path / "toy.safetensors"), source=toy_registry())
    assert torch.equal(answer(loaded.module), answer(made.module))


def test_a_device_that_is_not_there_is_told(toy_registry: MakeRegistry, tmp_path: Path) -> None:
    checkpoint = read_checkpoint(saved(tmp_path / "toy.safetensors", assembled(toy_registry())))
    with pytest.raises(ConfigError, match=r"'cuda:99'.*choose cpu"):
        restore(checkpoint, device="cuda:99", source=toy_registry())


def test_an_encoder_is_built_from_a_reference(toy_registry: MakeRegistry) -> None:
    build = encoder_builder(reference(channels=5), toy_registry())
    assert build(inputs=2, average_neighbors=1.0).irreps_out.dim == 5 + 3


@pytest.mark.parametrize(
    ("encoder", "sampler", "place"),
    [
        (reference(chanels=4), "toy", "encoder.config.chanels"),
        (reference(channels=0), "toy", "encoder.config.channels"),
        (reference(channels=13), "toy", "encoder.config.channels"),
        (reference(edges="radius", cutoff=5.0), "toy", "encoder.config.cutoff"),
        (reference(edges="radius"), "toy", "encoder.config"),
        (reference(product={"use": "product", "config": {"scal": 2}}), "toy", "encoder.config.product.config.scal"),
        ("toy", reference(sigma=1.0), "sampler.config.sigma"),
        ("toy", reference(rejects=True), "sampler.config"),
    ],
)
def test_what_can_not_fit_is_refused_when_the_config_is_read(
    toy_registry: MakeRegistry, encoder: object, sampler: object, place: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        check_generator(encoder, sampler, source=toy_registry())  # type: ignore[arg-type]
    assert caught.value.where is not None
    assert caught.value.where.startswith(place)


def test_unknown_components_are_named_with_their_key_and_the_nearest(toy_registry: MakeRegistry) -> None:
    with pytest.raises(UnknownComponentError, match=r"'tooy' \(encoder\.use\).*'toy'"):
        check_generator("tooy", "toy", source=toy_registry())


@pytest.mark.parametrize("flaw", ["no encoder", "no process"])
def test_a_sampler_whose_model_breaks_the_contract_is_named(toy_registry: MakeRegistry, flaw: str) -> None:
    with pytest.raises(BrokenPluginError, match="sampler molgen-toy:toy"):
        check_generator("toy", reference(model=flaw), source=toy_registry())


def _without(name: str) -> Callable[[dict], object]:
    return lambda tensors: tensors.pop(name)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (_without("encoder.gate.weight"), r"lacks 1 tensors, such as 'encoder\.gate\.weight'"),
        (lambda t: t.update(extra=torch.zeros(1)), r"unknown 1 tensors, such as 'extra'"),
        (lambda t: t.update({"encoder.gate.bias": torch.zeros(7)}), r"\(7,\), where the model has \(1,\)"),
        (lambda t: t.update({"encoder.seen": torch.zeros(())}), r"integers for real numbers.*'encoder\.seen'"),
    ],
)
def test_tensors_that_do_not_fit_the_module_are_refused(
    toy_registry: MakeRegistry, tmp_path: Path, edit: Callable[[dict], object], message: str
) -> None:
    made = assembled(toy_registry())
    tensors = dict(made.module.state_dict())
    edit(tensors)
    checkpoint = read_checkpoint(saved(tmp_path / "toy.safetensors", made, tensors))
    with pytest.raises(CheckpointError, match=message) as caught:
        restore(checkpoint, source=toy_registry())
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize("distribution", ["molgen-gaunt", "evil-molgen-egnn"])
def test_a_missing_plugin_is_named_and_only_ours_get_an_install_line(
    toy_registry: MakeRegistry, tmp_path: Path, distribution: str
) -> None:
    foreign = toy_registry(distribution=distribution)
    checkpoint = read_checkpoint(saved(tmp_path / "toy.safetensors", assembled(foreign)))
    with pytest.raises(CheckpointError, match=f"needs the encoder '{distribution}:toy'") as caught:
        restore(checkpoint, source=toy_registry())
    assert ("pip install" in str(caught.value)) == (distribution in OWN_DISTRIBUTIONS)


def test_a_missing_part_is_named_too(toy_registry: MakeRegistry, tmp_path: Path) -> None:
    checkpoint = read_checkpoint(saved(tmp_path / "toy.safetensors", assembled(toy_registry())))
    with pytest.raises(CheckpointError, match="needs the tensor_product 'molgen-toy:product'"):
        restore(checkpoint, source=toy_registry(leave_out="tensor_product"))


def test_components_newer_than_the_installed_ones_are_refused_with_both_versions(
    toy_registry: MakeRegistry, tmp_path: Path
) -> None:
    made = assembled(toy_registry(encoder={"version": 4}))
    checkpoint = read_checkpoint(saved(tmp_path / "toy.safetensors", made))
    with pytest.raises(CheckpointError, match=r"version 4.*version 1.*update molgen-toy"):
        restore(checkpoint, source=toy_registry())


def test_older_components_and_their_parts_are_migrated(toy_registry: MakeRegistry, tmp_path: Path) -> None:
    made = assembled(toy_registry(), channels=6)
    with torch.no_grad():
        made.module.encoder.product.gain.fill_(2.0)
    record = made.components["encoder"]
    config = {k: v for k, v in record.config.items() if k != "channels"} | {"width": 6}
    config["product"] = {"use": "molgen-toy:product", "config": {"scale": 1.0, "logarithmic": True}}
    made.components["encoder"] = record.model_copy(update={"config": config})
    tensors = {name.replace("embed.", "input."): tensor for name, tensor in made.module.state_dict().items()}
    tensors["encoder.product.gain"] = tensors["encoder.product.gain"].log()
    checkpoint = read_checkpoint(saved(tmp_path / "toy.safetensors", made, tensors))
    newer = toy_registry(
        encoder={"version": 2, "migrate": "molgen_toy:migrate_encoder"},
        tensor_product={"version": 2, "migrate": "molgen_toy:migrate_product"},
    )
    torch.testing.assert_close(answer(restore(checkpoint, source=newer).module), answer(made.module))
    with pytest.raises(CheckpointError, match="no migration"):
        restore(checkpoint, source=toy_registry(encoder={"version": 2}))


def test_options_that_the_installed_component_does_not_take_are_an_error_of_the_file(
    toy_registry: MakeRegistry, tmp_path: Path
) -> None:
    made = assembled(toy_registry())
    record = made.components["encoder"]
    made.components["encoder"] = record.model_copy(update={"config": {**record.config, "depth": 3}})
    checkpoint = read_checkpoint(saved(tmp_path / "toy.safetensors", made))
    with pytest.raises(CheckpointError, match=r"toy\.safetensors: encoder\.config\.depth"):
        restore(checkpoint, source=toy_registry())


def test_options_that_ask_for_far_more_memory_than_the_tensors_are_refused_before_it_is_allocated(
    toy_registry: MakeRegistry, tmp_path: Path
) -> None:
    made = assembled(toy_registry())
    record = made.components["encoder"]
    made.components["encoder"] = record.model_copy(update={"config": {**record.config, "channels": 10**8}})
    checkpoint = read_checkpoint(saved(tmp_path / "toy.safetensors", made))
    with pytest.raises(CheckpointError, match="far larger than its tensors"):
        restore(checkpoint, source=toy_registry())


@pytest.mark.parametrize("path", ["nowhere", "channels", "product.config.scale", "product.7"])
def test_parts_recorded_where_there_are_none_are_refused(toy_registry: MakeRegistry, tmp_path: Path, path: str) -> None:
    made = assembled(toy_registry())
    record = made.components["encoder"]
    made.components["encoder"] = record.model_copy(update={"parts": {path: record.parts["product"]}})
    checkpoint = read_checkpoint(saved(tmp_path / "toy.safetensors", made))
    with pytest.raises(CheckpointError, match=path):
        restore(checkpoint, source=toy_registry())


def test_a_sampler_that_now_learns_another_process_is_refused(toy_registry: MakeRegistry, tmp_path: Path) -> None:
    made = assembled(toy_registry())
    document = made.document("toy", SCHEMA, STATISTICS)
    other = Process.from_dict(document.process | {"sigma_max": 11.0}).as_dict()
    document = document.model_copy(update={"process": other})
    write_checkpoint(tmp_path / "toy.safetensors", Checkpoint(document, made.module.state_dict()))
    with pytest.raises(CheckpointError, match="another process"):
        restore(read_checkpoint(tmp_path / "toy.safetensors"), source=toy_registry())


def test_a_potential_is_no_generator(toy_registry: MakeRegistry, tmp_path: Path) -> None:
    made = assembled(toy_registry())
    document = made.document("toy", SCHEMA, STATISTICS)
    record = PotentialRecord(elements={"H": ElementRecord(isolated_energy=-13.6)})
    components = document.components | {"heads.energy": document.components["encoder"]}
    changed = {"task": "potential", "potential": record, "components": components}
    document = document.model_copy(update=changed)
    write_checkpoint(tmp_path / "toy.safetensors", Checkpoint(document, made.module.state_dict()))
    with pytest.raises(CheckpointError, match=r"is a potential.*expected a generator"):
        restore(read_checkpoint(tmp_path / "toy.safetensors"), source=toy_registry())
