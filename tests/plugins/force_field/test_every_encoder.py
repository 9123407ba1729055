"""Each head on each encoder: what it gives turns and moves with the atoms, and knows no other structure."""

from __future__ import annotations

import functools

import pytest
import torch
from encoders.cases import ALL, FIRST, FIRST_LOCAL, Case, encoder_of, features_of, graph_of, scalars_of, scattered
from encoders.geometry import molecule, orthogonal, representation, structures_of, turned
from torch import Tensor

import molgen
from molgen.host.registry import registry
from molgen.interfaces import Features, Head
from molgen.structures import Structures

NAMES = ("energy", "direct-forces", "dipole", "charges")
ROUNDING = 1e-12  # relative, float64: one head
EXACT = 1e-10  # relative, float64: encoder and head, sums in another order

VECTORS = {"forces", "dipole"}  # turn with the atoms; the rest stays
CHARGES = (1.0, 0.0, -2.0)  # e, of structures


@functools.cache
def head_of(name: str, case: Case) -> Head:
    torch.manual_seed(3)
    head: Head = scattered(molgen.build("head", name, irreps=encoder_of(case).irreps_out).double())
    return head


def charged(structures: Structures) -> Structures:
    charge = torch.tensor(CHARGES, dtype=torch.float64)[: len(structures)]
    return structures.replace(charge=charge)


def read(name: str, case: Case, structures: Structures, features: Features) -> Tensor:
    """The one property of a head."""
    head = head_of(name, case)
    out = head(features, structures, graph_of(case, structures))
    assert out.keys() == head.provides
    (value,) = out.values()
    return value


def result(name: str, case: Case, structures: Structures, scalars: Tensor) -> Tensor:
    return read(name, case, structures, features_of(case, structures, scalars))


def is_vector(name: str, case: Case) -> bool:
    return bool(head_of(name, case).provides & VECTORS)


def close(found: Tensor, expected: Tensor, tolerance: float) -> bool:
    return found.shape == expected.shape and bool(
        (found - expected).abs().max() <= tolerance * expected.abs().max().clamp(min=1e-3)
    )


def on(cases: list[Case]) -> pytest.MarkDecorator:
    """Each head on each case that has what the head reads."""
    pairs = [
        (name, case)
        for case in cases
        for name in NAMES
        if name != "direct-forces" or "1o" in encoder_of(case).irreps_out
    ]
    return pytest.mark.parametrize(("name", "case"), pairs, ids=str)


def test_the_heads_of_the_plugin_are_those_that_are_tested() -> None:
    found = [each for each in registry().components("head") if each.distribution == "molgen-force-field"]
    assert sorted(each.component.name for each in found) == sorted(NAMES)
    assert [each.component.name for each in found if each.component.capabilities.conservative] == ["energy"]


@on(ALL)
def test_what_a_head_reads_turns_with_the_features(name: str, case: Case) -> None:
    structures = charged(molecule(5, 3))
    features = features_of(case, structures, scalars_of(8))
    before = read(name, case, structures, features)
    assert before.abs().max() > 1e-4, "zero proves nothing"
    for seed in range(4):
        q = orthogonal(seed, inverted=seed % 2 == 1)
        nodes = features.nodes @ representation(encoder_of(case).irreps_out, q).T
        after = read(name, case, turned(structures, q), Features(nodes))
        assert close(after, before @ q.T if is_vector(name, case) else before, ROUNDING)


@on([case for case in ALL if case.exact])
def test_properties_turn_with_the_atoms(name: str, case: Case) -> None:
    structures, scalars = charged(molecule(5, 3, cutoff=case.cutoff)), scalars_of(8)
    before = result(name, case, structures, scalars)
    for seed in range(4):
        q = orthogonal(seed, inverted=seed % 2 == 1 and case.symmetry == "O3")
        after = result(name, case, turned(structures, q), scalars)
        tolerance = max(EXACT, 10 * (case.turned_error or 0.0))
        assert close(after, before @ q.T if is_vector(name, case) else before, tolerance)


@on([*FIRST, *FIRST_LOCAL])
def test_properties_follow_the_order_of_the_atoms(name: str, case: Case) -> None:
    structures, scalars, order = molecule(6), scalars_of(6), torch.tensor([3, 0, 5, 1, 4, 2])
    before = result(name, case, structures, scalars)
    after = result(name, case, structures_of(structures.positions[order]), scalars[order])
    assert close(after, before if name == "dipole" else before[order], EXACT)


@on([*FIRST, *FIRST_LOCAL])
def test_a_structure_in_a_batch_has_the_properties_that_it_has_alone(name: str, case: Case) -> None:
    batch, scalars = charged(molecule(4, 1, 6)), scalars_of(11)
    together = result(name, case, batch, scalars)
    alone = [
        result(name, case, single, own) for single, own in zip(batch.split(), scalars.split([4, 1, 6]), strict=True)
    ]
    assert close(together, torch.cat(alone), EXACT)


@on([*FIRST, *FIRST_LOCAL])
def test_structures_without_atoms_change_nothing(name: str, case: Case) -> None:
    batch, with_empty, scalars = molecule(4, 3), molecule(0, 4, 0, 3), scalars_of(7)
    expected, found = (result(name, case, structures, scalars) for structures in (batch, with_empty))
    if name == "dipole":
        assert torch.equal(found[[0, 2]], torch.zeros(2, 3))
        found = found[[1, 3]]
    assert close(found, expected, EXACT)
    nothing = result(name, case, molecule(0), scalars_of(0))
    assert nothing.shape == ((1, 3) if name == "dipole" else (0, *expected.shape[1:]))


@pytest.mark.parametrize("case", FIRST_LOCAL, ids=str)
def test_one_atom_has_an_energy_no_force_and_the_whole_charge(case: Case) -> None:
    ion, scalars = charged(molecule(1)), scalars_of(1)
    assert torch.isfinite(result("energy", case, ion, scalars)).all()
    assert torch.equal(result("direct-forces", case, ion, scalars), torch.zeros(1, 3))
    assert result("charges", case, ion, scalars).item() == pytest.approx(1.0, abs=1e-15)
    assert close(result("dipole", case, ion, scalars), ion.positions, 1e-8)  # Q·r, with Q = 1


@on([*FIRST, *FIRST_LOCAL])
def test_what_is_not_a_number_stays_in_its_structure(name: str, case: Case) -> None:
    structures = molecule(4, 3)
    features = features_of(case, structures, scalars_of(7))
    before = read(name, case, structures, features)
    nodes = features.nodes.detach().clone()
    nodes[:4] = torch.nan
    nodes.requires_grad_()
    after = read(name, case, structures, Features(nodes))
    split = 1 if name == "dipole" else 4
    assert after[:split].isnan().all()
    assert close(after[split:], before[split:], ROUNDING)
    (slope,) = torch.autograd.grad(after[split:].square().sum(), nodes)
    assert torch.isfinite(slope[4:]).all()


@on(FIRST_LOCAL)
def test_fresh_properties_are_small_and_not_zero(name: str, case: Case) -> None:
    structures, scalars = molecule(6, 6, cutoff=case.cutoff), scalars_of(12)
    sizes = []
    for seed in range(5):
        torch.manual_seed(seed)
        head = molgen.build("head", name, irreps=encoder_of(case).irreps_out).double()
        (value,) = head(features_of(case, structures, scalars), structures, graph_of(case, structures)).values()
        sizes.append(value.detach().square().mean().sqrt().item())
    assert all(1e-4 < size < 10.0 for size in sizes)


@on(FIRST_LOCAL)
def test_float32_features_beside_float64_positions_agree_with_float64(name: str, case: Case) -> None:
    structures = charged(molecule(5, 3, cutoff=case.cutoff))
    features = features_of(case, structures, scalars_of(8))
    expected = read(name, case, structures, features)
    head = molgen.build("head", name, irreps=encoder_of(case).irreps_out)
    head.load_state_dict(head_of(name, case).state_dict())
    assert next(head.parameters()).dtype == torch.float32
    single = Features(features.nodes.float())
    for own in (structures, structures.to(torch.float32)):
        (found,) = head(single, own, graph_of(case, own)).values()
        # per-atom energies are summed by whoever asks; the rest holds sums to float64
        assert found.dtype == (torch.float32 if name == "energy" else torch.float64)
        assert close(found.double(), expected, 1e-5)
