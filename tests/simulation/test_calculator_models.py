"""What a calculator is made of: names, files, potentials in memory, committees; dtype, and certificates that hold."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from simulation.potentials import assembled, close, ethanol, mixture, potential, silicon, written

from molgen.errors import CheckpointError, ConfigError, UnknownComponentError
from molgen.models import loading
from molgen.models.committee import Committee
from molgen.models.loading import load_potential
from molgen.models.zoo import Located
from molgen.simulation import Calculator, NotCertifiedWarning
from molgen.simulation.conditions import conditions_of, departures

# eV; float32 weights
SINGLE = 1e-3


def test_a_path_a_name_and_a_loaded_potential_serve_the_same(tmp_path, monkeypatch) -> None:
    path = written(tmp_path / "small.safetensors")
    expected = Calculator(path).get_forces(ethanol())
    assert close(Calculator(str(path)).get_forces(ethanol()), expected)
    assert close(Calculator(load_potential(path)).get_forces(ethanol()), expected)
    monkeypatch.setattr(loading, "find_model", lambda name: Located(path, f"some-plugin:{name}"))
    named = Calculator("small")
    assert close(named.get_forces(ethanol()), expected)
    assert named.todict()["model"] == "some-plugin:small"


def test_models_that_are_not_there_are_named() -> None:
    with pytest.raises(UnknownComponentError, match="no-such-model"):
        Calculator("no-such-model")
    with pytest.raises(CheckpointError, match=r"nowhere/some\.safetensors"):
        Calculator("nowhere/some.safetensors")
    with pytest.raises(ConfigError, match=r"a dict is no potential \(model\)"):
        Calculator({"use": "egnn"})
    with pytest.raises(ConfigError, match=r"a int is no potential \(model\.1\)"):
        Calculator([potential(), 3])


@pytest.mark.parametrize("dtype", ["float16", torch.bfloat16, 32, "double"])
def test_a_dtype_that_no_potential_computes_in_is_refused(dtype: object) -> None:
    with pytest.raises(ConfigError, match=r"dtype is .*float64, float32, or None"):
        Calculator(potential(), dtype=dtype)


def test_a_list_of_no_models_is_refused() -> None:
    with pytest.raises(ConfigError, match="there is no model in the list"):
        Calculator([])


def test_a_device_that_is_not_there_is_refused() -> None:
    with pytest.raises(ConfigError, match="the device 'cuda:77' can't be used"):
        Calculator(potential(), device="cuda:77")


def test_the_dtype_is_that_which_was_asked_for_or_that_of_training(tmp_path) -> None:
    path = written(tmp_path / "small.safetensors")  # weights are float32
    found = {dtype: Calculator(path, dtype=dtype) for dtype in ("float64", "float32", None, torch.float32)}
    assert [each.model.dtype for each in found.values()] == [torch.float64, *[torch.float32] * 3]
    assert [each.parameters["dtype"] for each in found.values()] == ["float64", *["float32"] * 3]
    energies = [each.get_potential_energy(ethanol()) for each in found.values()]
    assert energies == pytest.approx([energies[0]] * 4, abs=SINGLE)
    assert not close(energies[1:], energies[:1] * 3)


def test_geometry_is_float64_beside_float32_weights() -> None:
    atoms = mixture()
    calculator = Calculator(potential(), dtype="float32")
    here = calculator.get_forces(atoms)
    atoms.positions += 1e4
    assert np.allclose(calculator.get_forces(atoms), here, rtol=0, atol=2e-4)


def test_a_potential_in_memory_stays_as_it_was() -> None:
    model = assembled().module  # float32, in training mode, with gradients
    calculator = Calculator(model)
    calculator.get_forces(ethanol())
    assert model.dtype == torch.float32
    assert model.training
    assert all(weight.requires_grad and weight.grad is None for weight in model.parameters())
    assert not any(weight.requires_grad for weight in calculator.model.parameters())
    ready = potential()
    assert Calculator(ready).model is ready


def committee() -> Calculator:
    return Calculator([potential(seed=seed) for seed in range(3)])


def test_a_committee_gives_means_and_says_how_far_its_members_disagree() -> None:
    atoms = silicon()
    calculator = committee()
    members = [Calculator(potential(seed=seed)) for seed in range(3)]
    for name in ("energy", "forces", "stress", "energies"):
        values = [member.get_property(name, atoms) for member in members]
        assert np.allclose(calculator.get_property(name, atoms), np.mean(values, axis=0), rtol=0, atol=1e-10), name
    found = calculator.uncertainty(atoms)
    assert found.keys() == {"energy", "forces"}
    energies, forces = ([member.results[name] for member in members] for name in ("energy", "forces"))
    assert found["energy"] == pytest.approx(np.std(energies, ddof=1), rel=1e-9)
    assert np.allclose(found["forces"], np.std(forces, axis=0, ddof=1), rtol=0, atol=1e-10)
    assert found["energy"] > 1e-3
    assert calculator.results["energies"].sum() == pytest.approx(calculator.results["energy"], rel=1e-12)
    assert calculator.results["energy_deviation"] == found["energy"]


def test_the_uncertainty_is_that_of_the_atoms_at_hand() -> None:
    atoms = ethanol()
    atoms.calc = committee()
    first = atoms.calc.uncertainty(atoms)
    assert atoms.calc.uncertainty()["energy"] == first["energy"]
    atoms.positions[0] += 0.2
    second = atoms.calc.uncertainty(atoms)
    assert second["energy"] != first["energy"]
    second["forces"][:] = 0
    assert atoms.calc.uncertainty()["forces"].any()
    atoms.calc.set(one_pass=False)
    assert atoms.calc.uncertainty(atoms)["energy"] == pytest.approx(second["energy"], rel=1e-9)


def test_deviations_come_in_batches_too() -> None:
    calculator = committee()
    frames = [ethanol(), mixture()]
    for atoms, own in zip(frames, calculator.batched(frames, ["energy_deviation", "forces_deviation"]), strict=True):
        found = calculator.uncertainty(atoms)
        assert own["energy_deviation"] == pytest.approx(found["energy"], rel=1e-6)
        assert np.allclose(own["forces_deviation"], found["forces"], rtol=0, atol=1e-9)


def test_a_single_model_has_no_uncertainty() -> None:
    for model in (potential(), [potential()]):
        with pytest.raises(ConfigError, match=r"single model can't tell.*list of several models"):
            Calculator(model).uncertainty(ethanol())


def test_a_committee_is_made_of_files_and_told_of_by_them(tmp_path) -> None:
    paths = [written(tmp_path / f"{seed}.safetensors", seed=seed) for seed in range(2)]
    calculator = Calculator(paths)
    told = calculator.todict()
    assert told["model"] == [str(path) for path in paths]
    assert len(set(told["tensors_sha256"])) == 2
    again = Calculator.fromdict(told)
    assert close(again.uncertainty(ethanol())["energy"], calculator.uncertainty(ethanol())["energy"])
    in_memory = Calculator(Committee([load_potential(path).module for path in paths]))
    assert close(in_memory.get_potential_energy(ethanol()), calculator.get_potential_energy(ethanol()))


def test_members_that_don_t_fit_each_other_are_refused() -> None:
    with pytest.raises(ConfigError, match="differ in elements"):
        Calculator([potential(), potential(symbols=("H", "C"))])


def certified(tmp_path, **conditions: object):
    use = conditions.pop("use", "egnn")
    path = written(tmp_path / "certified.safetensors", use=use)
    now = conditions_of(Calculator(path).model)
    certificate = {"force_error": 1e-9, "conditions": now | conditions}
    return written(path, use=use, certificate=certificate)


def warnings_of(make) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        make()
    return [str(each.message) for each in caught if issubclass(each.category, NotCertifiedWarning)]


def test_a_model_without_certificate_or_as_certified_is_served_without_a_word(tmp_path) -> None:
    assert warnings_of(lambda: Calculator(written(tmp_path / "some.safetensors"))) == []
    path = certified(tmp_path)
    assert warnings_of(lambda: Calculator(path).get_forces(ethanol())) == []


def test_another_dtype_than_the_certified_one_is_warned_of_once(tmp_path) -> None:
    path = certified(tmp_path)

    def use() -> None:
        atoms = ethanol()
        atoms.calc = Calculator(path, dtype="float32")
        atoms.get_forces()
        atoms.rattle(0.01)
        atoms.get_forces()

    (message,) = warnings_of(use)
    assert "dtype is float32, certified was float64" in message
    assert "molgen certify" in message


def test_another_device_is_warned_of_once_for_all_members(tmp_path) -> None:
    path = certified(tmp_path, device="cuda")
    (message,) = warnings_of(lambda: Calculator([path, path]))
    assert message.count("device is cpu, certified was cuda") == 1


def test_another_method_of_products_is_warned_of(tmp_path) -> None:
    methods = conditions_of(potential("gaunt"))["product_methods"]
    assert methods
    name = next(iter(methods))
    path = certified(tmp_path, use="gaunt", product_methods=methods | {name: "another"})
    (message,) = warnings_of(lambda: Calculator(path))
    assert f"the product {name} is computed by {methods[name]}, certified was another" in message


def test_the_warning_points_at_the_line_that_made_the_calculator(tmp_path) -> None:
    path = certified(tmp_path, device="cuda")
    with pytest.warns(NotCertifiedWarning) as caught:
        Calculator(path)
    assert caught[0].filename == __file__


def test_a_certificate_of_other_tensors_certifies_nothing(tmp_path) -> None:
    loaded = load_potential(certified(tmp_path, dtype="float16"))
    assert departures(loaded.module, loaded.document)
    other = loaded.document.certificate | {"tensors_sha256": "0" * 64}
    assert departures(loaded.module, loaded.document.model_copy(update={"certificate": other})) == []
    own = loaded.document.certificate | {"tensors_sha256": loaded.document.tensors_sha256}
    assert departures(loaded.module, loaded.document.model_copy(update={"certificate": own}))


def test_a_loaded_potential_of_a_module_that_was_converted_is_served_in_the_dtype_asked_for(tmp_path) -> None:
    loaded = load_potential(written(tmp_path / "some.safetensors"), dtype=torch.float32)
    calculator = Calculator(replace(loaded, id=None))
    assert calculator.model.dtype == torch.float64
    assert loaded.module.dtype == torch.float32
    assert calculator.todict()["model"] == str(loaded.path)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_gpu_gives_what_the_cpu_gives(dtype: str) -> None:
    here, there = (Calculator(potential(), device=device, dtype=dtype) for device in ("cpu", "cuda"))
    tolerance = 1e-9 if dtype == "float64" else 1e-3
    atoms = mixture()
    for _ in range(3):
        assert np.allclose(there.get_forces(atoms), here.get_forces(atoms), rtol=0, atol=tolerance)
        assert np.allclose(there.get_stress(atoms), here.get_stress(atoms), rtol=0, atol=tolerance)
        atoms.rattle(0.02, rng=np.random.default_rng(0))
    for own, expected in zip(there.batched([atoms, ethanol()]), here.batched([atoms, ethanol()]), strict=True):
        assert np.allclose(own["forces"], expected["forces"], rtol=0, atol=tolerance)
