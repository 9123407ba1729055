"""Structures in memory have the face of a cache."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import equal, structures

from molgen.data.memory import MemoryDataset
from molgen.structures import Structures


@given(batch=structures(min_size=1), data=st.data())
def test_any_choice_of_indices_is_the_selection_of_all(batch: Structures, data: st.DataObject) -> None:
    dataset = MemoryDataset(batch)
    chosen = torch.tensor(data.draw(st.lists(st.integers(0, len(batch) - 1), max_size=6)), dtype=torch.int64)
    assert equal(dataset.structures(chosen), batch.select(chosen))
    assert len(dataset) == len(batch)
    assert torch.equal(dataset.n_atoms, batch.n_atoms)
    assert list(dataset.elements) == sorted(set(batch.species.tolist()))
    assert equal(dataset.select(chosen).structures(), batch.select(chosen))


@given(batch=structures(min_size=1))
def test_the_fingerprint_is_of_the_content(batch: Structures) -> None:
    first = MemoryDataset(batch).fingerprint
    assert MemoryDataset(batch.select(range(len(batch)))).fingerprint == first
    assert MemoryDataset(batch.replace(charge=batch.charge + 1)).fingerprint != first
    labelled = batch.replace(structure_labels={**batch.structure_labels, "new": torch.ones(len(batch))})
    assert MemoryDataset(labelled).fingerprint != first
