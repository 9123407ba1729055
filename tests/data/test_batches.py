"""Batches of equal sizes: pure functions of the step, and fair to every structure."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from molgen.data.batches import Buckets, every_batch
from molgen.errors import ConfigError

sizes = st.lists(st.integers(1, 6), min_size=1, max_size=40).map(torch.tensor)
widths = st.integers(1, 9)
seeds = st.integers(0, 2**64 - 1)


def steps_until(buckets: Buckets, epoch: int) -> range:
    return range(buckets.batches_before(epoch))


@given(n_atoms=sizes, batch_size=widths, seed=seeds)
def test_every_batch_is_dense_and_full(n_atoms: Tensor, batch_size: int, seed: int) -> None:
    buckets = Buckets(n_atoms, batch_size=batch_size, seed=seed)
    members = Counter(n_atoms.tolist())
    for step in steps_until(buckets, 3):
        batch = buckets.batch(step)
        (size,) = set(n_atoms[batch].tolist())
        assert len(batch) == min(batch_size, members[size])


@given(n_atoms=sizes, batch_size=widths, seed=seeds, epochs=st.integers(1, 5))
def test_after_some_epochs_each_structure_was_drawn_as_often_or_waits_once(
    n_atoms: Tensor, batch_size: int, seed: int, epochs: int
) -> None:
    buckets = Buckets(n_atoms, batch_size=batch_size, seed=seed)
    drawn = Counter(i for step in steps_until(buckets, epochs) for i in buckets.batch(step).tolist())
    assert all(drawn[i] in (epochs, epochs - 1) for i in range(len(n_atoms)))
    waiting = sum(epochs - drawn[i] for i in range(len(n_atoms)))
    assert waiting == sum(epochs * count % min(batch_size, count) for count in Counter(n_atoms.tolist()).values())


@given(n_atoms=sizes, batch_size=widths, seed=seeds, order=st.lists(st.integers(0, 60), max_size=12))
def test_a_batch_does_not_depend_on_what_was_drawn_before(
    n_atoms: Tensor, batch_size: int, seed: int, order: list[int]
) -> None:
    used = Buckets(n_atoms, batch_size=batch_size, seed=seed)
    for step in order:
        fresh = Buckets(n_atoms, batch_size=batch_size, seed=seed)
        assert torch.equal(used.batch(step), fresh.batch(step))


@given(n_atoms=sizes, batch_size=widths, step=st.one_of(st.integers(0, 500), st.integers(0, 2**40 - 1)))
def test_a_step_lies_in_its_epoch(n_atoms: Tensor, batch_size: int, step: int) -> None:
    buckets = Buckets(n_atoms, batch_size=batch_size, seed=0)
    epoch = buckets.epoch_of(step)
    assert buckets.batches_before(epoch) <= step < buckets.batches_before(epoch + 1)


@given(n_atoms=sizes, max_edges=st.integers(1, 100))
def test_edges_of_a_batch_are_bounded_where_one_structure_does_not_exceed_them(n_atoms: Tensor, max_edges: int) -> None:
    buckets = Buckets(n_atoms, batch_size=9, seed=0, max_edges=max_edges)
    for step in steps_until(buckets, 2):
        counts = n_atoms[buckets.batch(step)]
        assert len(counts) == 1 or int((counts * (counts - 1)).sum()) <= max_edges


@given(n_atoms=sizes, batch_size=widths, max_edges=st.one_of(st.none(), st.integers(1, 100)))
def test_for_evaluation_each_structure_comes_once(n_atoms: Tensor, batch_size: int, max_edges: int | None) -> None:
    batches = every_batch(n_atoms, batch_size=batch_size, max_edges=max_edges)
    assert sorted(torch.cat(batches).tolist()) == list(range(len(n_atoms)))
    assert all(len(set(n_atoms[batch].tolist())) == 1 and len(batch) <= batch_size for batch in batches)


def test_epochs_and_seeds_shuffle_anew() -> None:
    n_atoms = torch.full((64,), 5)
    one, other = Buckets(n_atoms, batch_size=8, seed=1), Buckets(n_atoms, batch_size=8, seed=2)
    assert not torch.equal(one.batch(0), other.batch(0))
    assert not torch.equal(one.batch(0), one.batch(8))


def test_a_seed_gives_the_same_batches_for_good() -> None:
    buckets = Buckets(torch.tensor([3, 5, 3, 3, 5, 3]), batch_size=2, seed=3)
    assert [buckets.batch(step).tolist() for step in range(4)] == [[3, 2], [0, 5], [4, 1], [5, 2]]


@pytest.mark.parametrize(
    ("n_atoms", "options"),
    [
        ([], {"batch_size": 1, "seed": 0}),
        ([3], {"batch_size": 0, "seed": 0}),
        ([3], {"batch_size": 1, "seed": -1}),
        ([3], {"batch_size": 1, "seed": 0, "max_edges": 0}),
    ],
)
def test_impossible_batches_are_refused(n_atoms: list[int], options: dict[str, int]) -> None:
    with pytest.raises(ConfigError):
        Buckets(torch.tensor(n_atoms), **options)  # type: ignore[arg-type]


def test_a_negative_step_is_refused() -> None:
    with pytest.raises(ConfigError, match="no step -1"):
        Buckets(torch.tensor([3]), batch_size=1, seed=0).batch(-1)
