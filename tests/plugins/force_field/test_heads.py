"""What the heads give is what they say: sums, conventions of charge and origin, derivatives, refusals."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import molgen
from molgen.errors import ConfigError, InputError
from molgen.host.registry import registry
from molgen.interfaces import Features, Head
from molgen.neighbors import complete_graph
from molgen.structures import Structures

IRREPS = "4x0e + 3x1o"
WIDTH = 13
PSEUDO = "2x0o + 4x0e + 2x1e + 3x1o + 1x2e"
NAMES = ("energy", "direct-forces", "dipole", "charges")
ROUNDING = 1e-13  # sums of a few numbers of order one, float64


def make(name: str, irreps: str = IRREPS, **config: object) -> Head:
    torch.manual_seed(0)
    head: Head = molgen.build("head", name, irreps=irreps, config=config).double()
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.normal_()
    return head


def points(*counts: int, **given: object) -> Structures:
    generator = torch.Generator().manual_seed(1)
    positions = 2.0 * torch.randn(sum(counts), 3, dtype=torch.float64, generator=generator)
    return Structures.build(positions, [6] * sum(counts), n_atoms=counts, **given)


def nodes(n: int, width: int = WIDTH, seed: int = 2) -> Tensor:
    return torch.randn(n, width, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def read(head: Head, structures: Structures, features: Tensor) -> Tensor:
    (value,) = head(Features(features), structures, complete_graph(structures)).values()
    return value


def sums(values: Tensor, structures: Structures) -> Tensor:
    return torch.stack([own.sum(0) for own in values.split(structures.n_atoms.tolist())])


@given(
    counts=st.lists(st.integers(1, 9), min_size=1, max_size=5),
    data=st.data(),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    spread=st.sampled_from(["softness", "equal"]),
)
@settings(max_examples=40)
def test_charges_sum_to_the_charge_of_each_structure(
    counts: list[int], data: st.DataObject, dtype: torch.dtype, spread: str
) -> None:
    charge = data.draw(st.lists(st.integers(-3, 3), min_size=len(counts), max_size=len(counts)))
    structures = points(*counts, charge=charge)
    charges = read(make("charges", spread=spread).to(dtype), structures, nodes(sum(counts)).to(dtype))
    assert charges.dtype == torch.float64
    scale = 1 + charges.detach().abs().max()
    assert (sums(charges, structures) - structures.charge).abs().max() <= ROUNDING * scale


def test_charges_are_those_of_least_energy_of_charge_equilibration() -> None:
    head, structures = make("charges"), points(6, charge=[-1])
    features = nodes(6)
    read_out = head.partial_charges.readout(features).detach()
    softness = torch.nn.functional.softplus(read_out[:, 1]) + 1e-3
    electronegativity, hardness = -read_out[:, 0] / softness, 1 / softness
    # stationary Σ (χ q + η q² / 2) + λ (Σ q − Q), solved as it stands
    matrix = torch.zeros(7, 7, dtype=torch.float64)
    matrix[:6, :6] = torch.diag(hardness)
    matrix[:6, 6] = matrix[6, :6] = 1.0
    right = torch.cat((-electronegativity, structures.charge))
    expected = torch.linalg.solve(matrix, right)[:6]
    assert torch.allclose(read(head, structures, features), expected, rtol=0, atol=1e-12)


def test_equal_parts_shift_every_charge_alike() -> None:
    head, structures, features = make("charges", spread="equal"), points(5, charge=[2]), nodes(5)
    shift = read(head, structures, features) - head.partial_charges.readout(features)[:, 0]
    assert float(shift.detach().std()) < 1e-14


def test_forces_have_no_net_force_unless_asked() -> None:
    structures, features = points(5, 3), nodes(8)
    without, with_net = make("direct-forces"), make("direct-forces", remove_net_force=False)
    forces = read(with_net, structures, features)
    assert sums(forces, structures).abs().max() > 0.1
    assert sums(read(without, structures, features), structures).abs().max() < ROUNDING * 10
    gates = with_net.readout.gates(features)
    vectors = features[:, 4:].reshape(8, 3, 3)
    for atom in range(8):
        expected = sum(gates[atom, c] * vectors[atom, c] for c in range(3))
        assert torch.allclose(forces[atom], expected, rtol=0, atol=1e-13)


def test_a_dipole_is_the_sum_of_charges_times_places_and_of_dipoles_of_atoms() -> None:
    head, structures, features = make("dipole"), points(5, 3, charge=[1, -2]), nodes(8)
    charges = head.partial_charges(features, structures)
    own = head.atomic_dipoles(features)
    expected = sums(charges[:, None] * structures.positions + own, structures)
    assert torch.allclose(read(head, structures, features), expected, rtol=0, atol=1e-12)
    bare = read(make("dipole", atomic_dipoles=False), structures, features)
    assert (bare - expected).abs().max() > 0.1


def test_a_dipole_of_an_encoder_without_vectors_is_that_of_the_charges() -> None:
    head, structures, features = make("dipole", "4x0e"), points(5), nodes(5, 4)
    charges = head.partial_charges(features, structures)
    assert torch.allclose(read(head, structures, features)[0], charges @ structures.positions, rtol=0, atol=1e-13)


def test_a_neutral_dipole_knows_no_origin_and_that_of_an_ion_moves_with_its_charge() -> None:
    head, structures, features = make("dipole"), points(5, 4, charge=[0, -2]), nodes(9)
    away = torch.tensor([3e3, -5e3, 1e4], dtype=torch.float64)
    moved = structures.replace(positions=structures.positions + away)
    change = (read(head, moved, features) - read(head, structures, features)).detach()
    assert change[0].abs().max() < 1e-9
    assert torch.allclose(change[1], -2 * away, rtol=1e-12, atol=0)


def test_a_neutral_dipole_of_float32_weights_knows_no_origin_either() -> None:
    head, structures, features = make("dipole").float(), points(5), nodes(5).float()
    moved = structures.replace(positions=structures.positions + 1e5)
    assert (read(head, moved, features) - read(head, structures, features)).abs().max() < 1e-8


def test_a_periodic_structure_has_no_dipole_and_spoils_no_other() -> None:
    cell = 9.0 * torch.eye(3, dtype=torch.float64).expand(2, 3, 3)
    structures = points(4, 3, cell=cell, pbc=[[False] * 3, [False, False, True]])
    head, features = make("dipole"), nodes(7).requires_grad_()
    dipole = read(head, structures, features)
    assert dipole[1].isnan().all()
    assert torch.equal(dipole[0], read(head, structures.select([0]), features[:4])[0])
    known = torch.where(dipole.isnan(), 0.0, dipole)
    slopes = torch.autograd.grad(known.square().sum(), [features, *head.parameters()])
    assert all(torch.isfinite(slope).all() for slope in slopes)


@pytest.mark.parametrize("name", NAMES)
def test_a_head_can_be_differentiated_twice(name: str) -> None:
    head, structures = make(name, hidden=[3]), points(3, 2, charge=[0, 1])
    names = [key for key, _ in head.named_parameters()]

    def outcome(features: Tensor, positions: Tensor, *values: Tensor) -> Tensor:
        own = structures.replace(positions=positions)
        arguments = (Features(features), own, complete_graph(own))
        called = torch.func.functional_call(head, dict(zip(names, values, strict=True)), arguments)
        return next(iter(called.values()))

    inputs = (nodes(5), structures.positions, *(p.detach() for p in head.parameters()))
    inputs = tuple(x.clone().requires_grad_() for x in inputs)
    assert torch.autograd.gradcheck(outcome, inputs, fast_mode=True)
    assert torch.autograd.gradgradcheck(outcome, inputs, fast_mode=True)


@pytest.mark.parametrize("name", NAMES)
def test_pseudoscalars_pseudovectors_and_higher_degrees_are_left_alone(name: str) -> None:
    head, structures, features = make(name, PSEUDO), points(5), nodes(5, 26)
    before = read(head, structures, features)
    features[:, 0:2] += 1.0  # 0o
    features[:, 6:12] += 1.0  # 1e
    features[:, 21:] += 1.0  # 2e
    assert torch.equal(read(head, structures, features), before)
    features[:, 2:6] += 1.0  # 0e
    assert not torch.equal(read(head, structures, features), before)


@pytest.mark.parametrize("name", NAMES)
def test_a_head_without_hidden_layers_is_linear_in_the_invariants(name: str) -> None:
    config = {"spread": "equal", "atomic_dipoles": False} if name == "dipole" else {}
    config = {"spread": "equal"} if name == "charges" else config
    head, structures = make(name, hidden=[], **config), points(4)
    x, y = nodes(4), nodes(4, seed=3)
    x[:, 4:] = y[:, 4:]
    middle = read(head, structures, 0.5 * (x + y))
    assert torch.allclose(middle, 0.5 * (read(head, structures, x) + read(head, structures, y)), rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_a_second_call_gives_the_same_bits_and_draws_no_random_numbers(name: str) -> None:
    head, structures, features = make(name), points(5, 3), nodes(8)
    state = torch.random.get_rng_state()
    assert torch.equal(read(head, structures, features), read(head, structures, features))
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize("name", NAMES)
def test_options_survive_being_written_and_read(name: str) -> None:
    found = registry().resolve("head", name)
    given = {"hidden": [7, 5]} | ({"spread": "equal"} if name in ("dipole", "charges") else {})
    config = found.make_config(given)
    again = found.make_config(config.model_dump(mode="json"))
    assert again == config
    first, second = (found.build(each, irreps=IRREPS) for each in (config, again))
    assert {k: v.shape for k, v in first.state_dict().items()} == {k: v.shape for k, v in second.state_dict().items()}
    second.load_state_dict(first.state_dict())
    structures, features = points(4), nodes(4).float()
    assert torch.equal(read(first, structures, features), read(second, structures, features))


@pytest.mark.parametrize("name", NAMES)
def test_an_encoder_without_invariants_is_refused_by_what_it_gives(name: str) -> None:
    with pytest.raises(ConfigError) as caught:
        molgen.build("head", name, irreps="2x0o + 3x1o")
    assert str(caught.value) == (
        f"the head '{name}' reads invariants, and the encoder gives 2x0o+3x1o (irreps); expected some 0e; "
        "choose an encoder that gives 0e, or options with which it does"
    )


def test_direct_forces_of_an_encoder_without_vectors_are_refused() -> None:
    with pytest.raises(ConfigError) as caught:
        molgen.build("head", "direct-forces", irreps="8x0e + 2x1e")
    assert str(caught.value) == (
        "the head 'direct-forces' reads vectors, and the encoder gives 8x0e+2x1e (irreps); expected some 1o; "
        "choose an encoder that gives 1o, or options with which it does"
    )


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("irreps", ["8x0z", "", "many"])
def test_irreps_that_are_none_are_refused(name: str, irreps: str) -> None:
    with pytest.raises(ConfigError, match="expected"):
        molgen.build("head", name, irreps=irreps)


@pytest.mark.parametrize("name", NAMES)
def test_features_of_another_width_or_dtype_are_refused(name: str) -> None:
    head, structures = make(name), points(3)
    with pytest.raises(InputError, match=r"features have shape \(3, 12\).*expected \[N, 13\], for 4x0e\+3x1o"):
        read(head, structures, nodes(3, 12))
    with pytest.raises(InputError, match=r"features are torch.float32, and the head's weights torch.float64"):
        read(head, structures, nodes(3).float())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("config", "said"),
    [({"hidden": [0]}, "hidden"), ({"hidden": 64}, "hidden"), ({"hiden": [64]}, "hidden")],
)
def test_options_that_can_not_be_are_refused_by_their_key(name: str, config: dict, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        molgen.build("head", name, irreps=IRREPS, config=config)


@pytest.mark.parametrize("name", NAMES)
def test_heads_work_under_autocast(name: str) -> None:
    head, structures, features = make(name).float(), points(5, charge=[1]), nodes(5).float()
    expected = read(head, structures, features)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = read(head, structures, features)
    assert (found - expected).abs().max() < 0.05 * expected.abs().max()
    if name == "charges":
        assert float(found.detach().sum()) == pytest.approx(1.0, abs=1e-12)
