"""Potentials: forces and stress as derivatives, energies that add up, and what is refused."""

from __future__ import annotations

import copy

import pytest
import torch
from models.potentials import ELEMENTS, ENCODERS, assembled, molecules
from torch import Tensor

from molgen.errors import CheckpointError, ConfigError, StructureError
from molgen.models.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from molgen.models.committee import Committee
from molgen.models.loading import load_potential
from molgen.models.potential import Potential
from molgen.models.restoration import restore, restore_potential
from molgen.structures import Structures, concatenate

STEPS = {"egnn": 1e-3, "gaunt": 1e-3, "escn": 3e-4}  # Å, where a five-point stencil's error is least
STENCIL = ((1, 8 / 12), (-1, -8 / 12), (2, -1 / 12), (-2, 1 / 12))


def energies(model: Potential, structures: Structures) -> Tensor:
    return model(structures, forces=False)["interaction_energy"]


def differences(model: Potential, structures: Structures, step: float = 1e-3) -> Tensor:
    """Forces by a five-point stencil."""
    found = torch.zeros_like(structures.positions)
    for atom in range(len(found)):
        for axis in range(3):
            for steps, weight in STENCIL:
                moved = structures.positions.clone()
                moved[atom, axis] += steps * step
                found[atom, axis] -= (
                    weight / step * float(energies(model, structures.replace(positions=moved)).detach().sum())
                )
    return found


def stress_by_differences(model: Potential, structures: Structures, step: float) -> Tensor:
    """[3, 3] eV/Å³ of one structure, by a five-point stencil."""
    found = torch.zeros(3, 3, dtype=torch.float64)
    for i in range(3):
        for j in range(3):
            for steps, weight in STENCIL:
                strain = torch.eye(3, dtype=torch.float64)
                strain[i, j] += steps * step
                strained = structures.replace(positions=structures.positions @ strain, cell=structures.cell @ strain)
                found[i, j] += weight / step * float(energies(model, strained).detach().sum())
    return found / torch.linalg.det(structures.cell[0]).abs()


@pytest.mark.parametrize("use", ENCODERS)
def test_forces_and_stress_are_derivatives_of_the_energy(use):
    model = assembled(use).module.double()
    batch = molecules(periodic=True)
    out = model(batch, stress=True)
    expected = differences(model, batch, STEPS[use])
    assert (out["forces"] - expected).abs().max() <= 1e-8 * expected.abs().max()
    for index, single in enumerate(batch.split()):
        stress = stress_by_differences(model, single, STEPS[use])
        assert (stress - stress.mT).abs().max() <= 1e-9
        assert (out["stress"][index] - stress).abs().max() <= 1e-8 * stress.abs().max()


@pytest.mark.parametrize("use", ENCODERS)
def test_a_loss_of_forces_and_stress_is_derived_right(use):
    torch.manual_seed(0)
    model = assembled(use).module.double()
    batch = molecules(periodic=True)
    parameters = [p for p in model.parameters() if p.requires_grad]

    def loss() -> Tensor:
        out = model(batch, stress=True, create_graph=True)
        return out["forces"].square().sum() + 10 * out["stress"].square().sum() + out["interaction_energy"].sum()

    gradients = torch.autograd.grad(loss(), parameters, materialize_grads=True)
    direction = [torch.randn_like(p) for p in parameters]
    slope = sum((g * d).sum() for g, d in zip(gradients, direction, strict=True))
    size, values = 1e-6, []
    for sign in (1, -2, 1):
        with torch.no_grad():
            for p, d in zip(parameters, direction, strict=True):
                p += sign * size * d
        values.append(float(loss().detach()))
    assert (values[0] - values[1]) / (2 * size) == pytest.approx(float(slope.detach()), rel=1e-5)


def test_energies_are_isolated_atoms_shifts_network_and_repulsion():
    bare, model = assembled(repulsion=False).module.double(), assembled().module.double()
    near = molecules()
    near = near.replace(positions=near.positions * 0.5)
    out, without = model(near), bare(near)
    assert torch.allclose(out["energy"], torch.zeros(2).double().index_add(0, near.batch, out["energies"]), atol=1e-9)
    isolated = [ELEMENTS[symbol].isolated_energy for symbol in "HCOHHCHO"]
    totals = torch.zeros(2, dtype=torch.float64).index_add(0, near.batch, torch.tensor(isolated, dtype=torch.float64))
    assert torch.allclose(out["energy"] - out["interaction_energy"], totals, atol=1e-9)
    assert (out["energy"] > without["energy"] + 1.0).all()
    assert out["energy"].dtype == torch.float64


def test_repulsion_has_edges_of_its_own_where_the_encoder_sees_too_little():
    model = assembled(config={**ENCODERS["egnn"], "cutoff": 1.0}).module.double()
    pair = Structures.build(torch.tensor([[0.0, 0, 0], [0, 0, 1.2]], dtype=torch.float64), [6, 6])
    assert len(model.graph(pair).senders) == 0
    out = model(pair)
    assert float(out["forces"][1, 2]) > 1.0
    assert torch.allclose(out["forces"], differences(model, pair), rtol=1e-6)


def test_float64_positions_serve_a_float32_network():
    exact, single = assembled().module.double(), assembled().module
    batch = molecules(periodic=True)
    far = batch.replace(positions=batch.positions + 1e4)
    reference, out = exact(batch, stress=True), single(far, stress=True)
    assert out["energy"].dtype == out["forces"].dtype == torch.float64
    for name in ("energy", "forces", "stress"):
        assert torch.allclose(out[name], reference[name], rtol=1e-4, atol=1e-5), name


def test_a_batch_gives_what_its_structures_give_alone():
    model = assembled("gaunt").module.double()
    batch = concatenate([molecules(periodic=True, seed=1), molecules(seed=2)])
    together = model(batch, stress=True)
    apart = [model(single, stress=True) for single in batch.split()]
    for name, values in together.items():
        assert torch.allclose(values, torch.cat([each[name] for each in apart]), rtol=1e-10, atol=1e-11), name


def test_without_a_full_cell_there_is_no_stress_but_all_else():
    model = assembled().module.double()
    slab = molecules(periodic=True).replace(pbc=torch.tensor([[True, True, False]] * 2))
    out = model(slab, stress=True)
    assert (out["stress"] == 0).all()
    assert out["forces"].abs().max() > 0


@pytest.mark.parametrize("use", ENCODERS)
def test_single_atoms_and_nothing_at_all_are_structures_too(use):
    model = assembled(use).module.double()
    atoms = Structures.build(torch.tensor([[0.0, 0, 0], [9.0, 0, 0]], dtype=torch.float64), [6, 1], n_atoms=[1, 1])
    assert (model(atoms)["forces"] == 0).all()
    empty = model(Structures.build([], [], n_atoms=[]))
    assert empty["energy"].shape == (0,)
    assert empty["forces"].shape == (0, 3)


def test_forces_can_be_left_out_and_energies_still_have_a_graph():
    model = assembled().module.double()
    batch = molecules()
    positions = batch.positions.clone().requires_grad_(True)
    out = model(batch.replace(positions=positions), forces=False)
    assert "forces" not in out
    (slope,) = torch.autograd.grad(out["energy"].sum(), positions)
    assert torch.allclose(-slope, model(batch)["forces"], atol=1e-12)


def test_a_hessian_can_be_taken_of_forces():
    model = assembled("gaunt").module.double().requires_grad_(False)
    batch = molecules().select([1])

    def forces(positions: Tensor) -> Tensor:
        return model(batch.replace(positions=positions), create_graph=True)["forces"]

    hessian = torch.autograd.functional.jacobian(forces, batch.positions).reshape(9, 9)
    assert torch.allclose(hessian, hessian.mT, atol=1e-9)
    assert hessian.abs().max() > 1e-6


def test_charge_and_spin_matter_where_they_were_trained_and_are_refused_elsewhere():
    batch = molecules()
    charged = batch.replace(charge=torch.tensor([1.0, 0.0], dtype=torch.float64))
    model = assembled(conditions=["charge", "spin"]).module.double()
    change = model(charged)["energy"] - model(batch)["energy"]
    assert change[0] != 0
    assert change[1] == 0
    plain = assembled().module
    with pytest.raises(StructureError, match=r"charge is 1, and the model was not trained.*structure 0.*expected 0"):
        plain(charged)
    with pytest.raises(StructureError, match=r"spin is 3"):
        plain(batch.replace(spin=torch.tensor([1, 3])))


@pytest.mark.parametrize("number", [7, 118])
def test_an_unknown_element_is_named_with_its_place(number):
    batch = molecules()
    species = batch.species.clone()
    species[6] = number
    symbol = {7: "N", 118: "Og"}[number]
    with pytest.raises(StructureError, match=rf"element {symbol} \(structure 1, atom 1\).*one of H, C, O"):
        assembled().module(batch.replace(species=species))


def test_a_crystal_is_refused_by_an_encoder_of_complete_graphs():
    model = assembled(config={"channels": 8, "layers": 2}).module
    assert model.cutoff is None
    assert "stress" not in model.provides
    model(molecules())
    with pytest.raises(StructureError, match="it is periodic"):
        model(molecules(periodic=True))


def test_heads_that_give_the_same_are_refused_and_forces_from_two_need_a_word():
    with pytest.raises(ConfigError, match="named twice"):
        assembled(heads=["energy", "energy"])
    with pytest.raises(ConfigError, match=r"can both give forces.*forces_from"):
        assembled(heads=["energy", "direct-forces"])
    with pytest.raises(ConfigError, match=r"forces can't come from 'charges'"):
        assembled(heads=["energy", "charges"], forces_from="charges")
    with pytest.raises(ConfigError, match=r"provide charges.*energies or forces"):
        assembled(heads=["charges"])


def test_direct_forces_are_those_of_the_head_and_the_model_says_so():
    batch = molecules(periodic=True)
    direct = assembled(heads=["energy", "direct-forces"], forces_from="direct-forces").module.double()
    derived = assembled(heads=["energy", "direct-forces"], forces_from="energy").module.double()
    assert (direct.conservative, derived.conservative) == (False, True)
    assert "stress" not in direct.provides
    assert "stress" in derived.provides
    assert not torch.allclose(direct(batch)["forces"], differences(direct, batch), rtol=1e-3)
    assert torch.allclose(derived(batch)["forces"], differences(derived, batch), rtol=1e-6, atol=1e-9)


def test_several_heads_answer_in_one_pass():
    model = assembled("gaunt", heads=["energy", "dipole", "charges"]).module.double()
    out = model(molecules())
    assert model.provides == {"energy", "energies", "forces", "stress", "dipole", "charges"}
    assert out["dipole"].shape == (2, 3)
    assert torch.allclose(
        torch.zeros(2).double().index_add(0, molecules().batch, out["charges"]), torch.zeros(2).double()
    )


@pytest.mark.parametrize("use", ENCODERS)
def test_a_model_file_brings_back_the_same_energies_to_the_bit(use, tmp_path):
    made = assembled(use, heads=["energy", "dipole"], conditions=["charge"])
    path = tmp_path / "model.safetensors"
    write_checkpoint(path, Checkpoint(made.document("mine"), made.module.state_dict()))
    before, after = made.module(molecules()), load_potential(path).module(molecules())
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert restore_potential(read_checkpoint(path), dtype=torch.float64).dtype == torch.float64
    with pytest.raises(CheckpointError, match=r"is a potential.*expected a generator"):
        restore(read_checkpoint(path))


def test_isolated_energies_keep_their_digits_when_a_model_is_converted():
    model = assembled().module
    before = model(molecules())
    after = copy.deepcopy(model).to(torch.bfloat16).to(torch.float32)(molecules())
    isolated = before["energy"] - before["interaction_energy"]
    assert torch.allclose(after["energy"] - after["interaction_energy"], isolated, rtol=1e-14)


def test_a_committee_gives_means_and_deviations():
    first, second = assembled().module.double(), assembled().module.double()
    with torch.no_grad():
        for p in second.parameters():
            p.mul_(1.1)
    out = Committee([first, second])(molecules(periodic=True), stress=True)
    one, two = (m(molecules(periodic=True), stress=True) for m in (first, second))
    for name in ("energy", "forces", "stress", "energies"):
        assert torch.allclose(out[name], (one[name] + two[name]) / 2)
    assert torch.allclose(out["energy_deviation"], (one["energy"] - two["energy"]).abs() / 2**0.5)
    assert out["forces_deviation"].shape == (8, 3)


def test_a_committee_of_one_or_of_strangers_is_refused():
    with pytest.raises(ConfigError, match="at least two"):
        Committee([assembled().module])
    with pytest.raises(ConfigError, match=r"differ in conditions"):
        Committee([assembled().module, assembled(conditions=["spin"]).module])


def test_members_of_a_committee_count_energies_from_one_zero():
    other = assembled().module
    carbon = ELEMENTS["C"].model_copy(update={"isolated_energy": -48.8})
    other.record = other.record.model_copy(update={"elements": {**ELEMENTS, "C": carbon}})
    with pytest.raises(ConfigError, match=r"C at -1029\.500 and -48\.800 eV.*\(member 1\)"):
        Committee([assembled().module, other])


def test_repulsion_reaches_as_far_as_the_file_says():
    near, far = (assembled(repulsion_reach=reach).module.double() for reach in (1.0, 1.25))
    bond = Structures.build(torch.tensor([[0.0, 0, 0], [0, 0, 1.1]], dtype=torch.float64), [6, 1])
    assert far(bond)["forces"][1, 2] > near(bond)["forces"][1, 2]
