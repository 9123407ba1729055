"""Splits hold every structure once, and stay what they were."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from molgen.data.splits import split
from molgen.errors import ConfigError


@given(n=st.integers(1, 200), data=st.data(), seed=st.integers(0, 2**40))
def test_each_structure_is_in_one_part(n: int, data: st.DataObject, seed: int) -> None:
    train = data.draw(st.integers(1, n))
    validation = data.draw(st.integers(0, n - train))
    parts = split(n, train, validation, seed)
    assert [len(part) for part in parts] == [train, validation, n - train - validation]
    assert torch.equal(torch.cat(parts).sort().values, torch.arange(n))


def test_a_recorded_seed_gives_the_same_split_for_good() -> None:
    train, validation, test = split(8, 4, 2, seed=7)
    assert (train.tolist(), validation.tolist(), test.tolist()) == ([0, 6, 7, 2], [4, 5], [1, 3])


def test_other_seeds_give_other_splits() -> None:
    assert not torch.equal(split(100, 50, 25, seed=0)[0], split(100, 50, 25, seed=1)[0])


@pytest.mark.parametrize(("train", "validation", "seed"), [(0, 1, 0), (5, -1, 0), (8, 3, 0), (5, 1, -1)])
def test_impossible_splits_are_refused(train: int, validation: int, seed: int) -> None:
    with pytest.raises(ConfigError):
        split(10, train, validation, seed)
