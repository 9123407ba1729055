"""Edges, batches, losses and references of potentials against slow, obvious ones."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from models.potentials import assembled, molecules

from molgen.errors import ConfigError
from molgen.structures import Structures, concatenate
from molgen.training.config import LossSection
from molgen.training.edge_batches import EdgeBatches, in_order
from molgen.training.graph_store import GraphStore, Numbered
from molgen.training.joined import Joined
from molgen.training.potential_losses import losses, means_of, measures, wanted_labels
from molgen.training.references import measure_elements

NAN = float("nan")


class Held:
    """A data set in memory."""

    def __init__(self, structures: Structures) -> None:
        self.all = structures
        self.n_atoms, self.fingerprint = structures.n_atoms, "held"
        self.elements = tuple(structures.species.unique().tolist())

    def __len__(self) -> int:
        return len(self.all)

    def structures(self, indices: torch.Tensor) -> Structures:
        return self.all.select(indices)


def labelled(**options: bool) -> Structures:
    batch = molecules(**options)
    rng = torch.Generator().manual_seed(1)
    return batch.replace(
        atom_labels={"forces": torch.randn(8, 3, generator=rng, dtype=torch.float64)},
        structure_labels={"energy": torch.tensor([-5000.0, -3000.0], dtype=torch.float64)},
    )


@pytest.mark.parametrize("periodic", [False, True])
def test_stored_edges_are_those_of_the_graph(periodic):
    model = assembled().module
    everything = concatenate([molecules(periodic=periodic, seed=s) for s in range(3)])
    data = Numbered(Held(everything))
    store = GraphStore(model, data)
    for chosen in ([0], [5, 2, 2], [1, 0, 3]):
        batch = data.structures(torch.tensor(chosen))
        found, expected = store.graph(batch), model.graph(batch)
        for name in ("senders", "receivers", "cell_shifts", "reverse", "batch", "n_atoms"):
            assert torch.equal(getattr(found, name), getattr(expected, name)), name
        assert torch.equal(found.with_positions(batch).vectors, expected.vectors)
    assert store.counts.tolist() == [len(model.graph(one).senders) for one in everything.split()]


@given(
    edges=st.lists(st.integers(0, 30), min_size=1, max_size=60),
    size=st.integers(1, 9),
    most=st.none() | st.integers(1, 80),
    seed=st.integers(0, 9),
)
@settings(max_examples=60, deadline=None)
def test_an_epoch_draws_each_structure_once_within_the_limits(edges, size, most, seed):
    counts = torch.tensor(edges)
    batches, again = (EdgeBatches(counts, batch_size=size, seed=seed, max_edges=most) for _ in range(2))
    drawn, step, epochs = [], 0, 2
    while len(drawn) < epochs * len(edges):
        batch = batches.batch(step)
        assert len(batch) <= size
        assert most is None or len(batch) == 1 or int(counts[batch].sum()) <= most
        drawn += batch.tolist()
        step += 1
    assert len(drawn) == epochs * len(edges)
    for epoch in range(epochs):
        assert sorted(drawn[epoch * len(edges) : (epoch + 1) * len(edges)]) == list(range(len(edges)))
    last = step - 1  # drawn first, as a resumed run does
    assert torch.equal(again.batch(last), batches.batch(last))
    assert torch.equal(again.batch(0), batches.batch(0))


def test_batches_hold_structures_of_like_size():
    counts = torch.arange(1000) % 100
    spread = torch.stack(
        [counts[b].float().std() for b in map(EdgeBatches(counts, batch_size=8, seed=0).batch, range(125))]
    )
    assert spread.mean() < 5


@given(edges=st.lists(st.integers(0, 30), max_size=40), size=st.integers(1, 9), most=st.none() | st.integers(1, 80))
@settings(max_examples=40, deadline=None)
def test_batches_to_validate_on_hold_each_structure_once(edges, size, most):
    found = in_order(torch.tensor(edges, dtype=torch.int64), batch_size=size, max_edges=most)
    assert sorted(int(i) for batch in found for i in batch) == list(range(len(edges)))


def test_losses_are_weighted_means_over_components():
    batch = labelled()
    found = {
        "energy": batch.structure_labels["energy"] + torch.tensor([0.5, -0.3]),
        "forces": batch.atom_labels["forces"] + 0.1,
    }
    section = LossSection.model_validate({"energy": 2.0, "forces": 3.0, "final_energy": 7.0})
    out = losses(found, batch, section, 4.0, final=False)
    energy = ((0.5 / 5) ** 2 + (0.3 / 3) ** 2) / 2
    assert float(out["energy"].mean()) == pytest.approx(energy)
    assert float(out["forces"].mean()) == pytest.approx(0.01)  # 8 atoms in two structures of 4 on average
    assert float(out["loss"].mean()) == pytest.approx(2 * energy + 3 * 0.01)
    final = losses(found, batch, section, 4.0, final=True)
    assert float(final["loss"].mean()) == pytest.approx(7 * energy + 3 * 0.01)
    means = means_of({name: float(values.mean()) for name, values in measures(found, batch).items()})
    assert means["forces_mae"] == pytest.approx(0.1)
    assert means["energy_mse"] == pytest.approx(energy)


def test_errors_are_means_over_the_numbers_that_are_known():
    batch = labelled()
    forces = batch.atom_labels["forces"].clone()
    forces[:5] = NAN
    batch = batch.replace(atom_labels={"forces": forces})
    found = {"forces": torch.nan_to_num(forces) + 0.2, "energy": batch.structure_labels["energy"] + 1.0}
    means = means_of({name: float(values.mean()) for name, values in measures(found, batch).items()})
    assert means["forces_mae"] == pytest.approx(0.2)
    assert means["forces_mse"] == pytest.approx(0.04)
    assert means["energy_mae"] == pytest.approx((1 / 5 + 1 / 3) / 2)


def test_stress_is_learned_where_there_is_a_volume():
    batch = molecules(periodic=True)
    batch = batch.replace(
        pbc=torch.tensor([[True, True, False], [True] * 3]), structure_labels={"stress": torch.ones(2, 3, 3).double()}
    )
    section = LossSection.model_validate({"stress": 1.0})
    out = losses({"stress": torch.zeros(2, 3, 3).double()}, batch, section, 4.0, final=False)
    assert out["stress"].tolist() == [0.0, 1.0]


@pytest.mark.parametrize(
    ("section", "wanted"),
    [({}, True), ({"energy": 0.0}, False), ({"final_energy": 0.0}, True), ({"energy": 0.0, "final_energy": 1.0}, True)],
)
def test_energies_are_wanted_where_they_ever_weigh(section, wanted):
    found = wanted_labels(LossSection.model_validate(section), frozenset({"energy", "forces"}))
    assert ("energy" in found) == wanted


@pytest.mark.parametrize("kind", ["mse", "huber", "mae"])
def test_labels_that_are_missing_cost_nothing_and_have_no_gradient(kind):
    batch = labelled()
    energy = batch.structure_labels["energy"].clone()
    forces = batch.atom_labels["forces"].clone()
    energy[1], forces[:5] = NAN, NAN
    batch = batch.replace(atom_labels={"forces": forces}, structure_labels={"energy": energy})
    found = {
        "energy": torch.full((2,), -4999.0, dtype=torch.float64, requires_grad=True),
        "forces": torch.ones(8, 3, dtype=torch.float64, requires_grad=True),
    }
    out = losses(found, batch, LossSection.model_validate({"kind": kind}), 4.0, final=False)
    assert out["energy"][1] <= 1e-11
    assert out["forces"][0] <= 1e-11
    assert (out["loss"] > 1e-6).all()
    out["loss"].sum().backward()
    assert found["energy"].grad[1] == 0
    assert (found["forces"].grad[:5] == 0).all()
    assert (found["forces"].grad[5:] != 0).any()


def test_absolute_errors_of_vectors_are_lengths():
    batch = labelled()
    found = {"forces": batch.atom_labels["forces"] + torch.tensor([0.3, 0.0, 0.0])}
    turned = {"forces": batch.atom_labels["forces"] + torch.tensor([0.0, 0.18, 0.24])}
    section = LossSection.model_validate({"kind": "mae"})
    one, two = (losses(each, batch, section, 4.0, final=False)["forces"].mean() for each in (found, turned))
    assert float(one) == pytest.approx(float(two)) == pytest.approx(0.3 / math.sqrt(3))


def test_references_are_those_of_the_data():
    rng = torch.Generator().manual_seed(0)
    parts = []
    for number in range(30):
        species = torch.tensor([1, 6, 8])[torch.randint(3, (2 + number % 4,), generator=rng)]
        energy = sum({1: -12.0, 6: -103.5, 8: -207.0}[int(z)] for z in species)
        forces = torch.randn(len(species), 3, generator=rng, dtype=torch.float64) * (species[:, None] + 1)
        one = Structures.build(torch.rand(len(species), 3).double() * 9, species)
        one = one.replace(atom_labels={"forces": forces}, structure_labels={"energy": torch.tensor([energy]).double()})
        parts.append(one)
    data = Held(concatenate(parts))
    found, source = measure_elements(data, torch.arange(30), {"H": -10.0, "C": -100.0, "O": -200.0})
    assert source == "given"
    assert {s: round(e.shift, 6) for s, e in found.items()} == {"H": -2.0, "C": -3.5, "O": -7.0}
    carbon = data.all.atom_labels["forces"][data.all.species == 6]
    assert found["C"].scale == pytest.approx(float(carbon.square().mean().sqrt()))
    with pytest.warns(UserWarning, match="no energies of isolated atoms"):
        fitted, source = measure_elements(data, torch.arange(30), {})
    assert source == "fitted"
    assert fitted["O"].isolated_energy == pytest.approx(-207.0)
    assert fitted["O"].shift == 0.0
    assert fitted["O"].scale == found["O"].scale


def test_two_data_sets_are_one_in_any_order():
    first, second = Held(molecules(seed=1)), Held(molecules(seed=2))
    joined = Joined(first, second)
    everything = concatenate([first.all, second.all])
    for chosen in ([0, 1], [3], [2, 0, 3, 1, 0]):
        found = joined.structures(torch.tensor(chosen))
        assert torch.equal(found.positions, everything.select(chosen).positions)
    other = Held(molecules().select([0]))
    other.elements = (1, 92)
    with pytest.raises(ConfigError, match="train on all elements"):
        Joined(first, other)
