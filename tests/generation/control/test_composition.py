"""Compositions: what is read, what is refused, and that elements are drawn jointly without replacement."""

from __future__ import annotations

import itertools

import pytest
import torch

from molgen.errors import RequestError
from molgen.generation.control import Composition
from molgen.generation.control.composition import assign, balance
from molgen.interfaces import Schema

SCHEMA = Schema(elements=(1, 6, 7, 8), size_counts={6: 1})


@pytest.mark.parametrize(
    ("given", "formula"),
    [
        ("CH4O", "CH4O"),
        (" OCH4 ", "CH4O"),
        ("CH3CH2OH", "C2H6O"),
        ({"N": 1, "H": 3}, "H3N"),
        ("C6H12O2", "C6H12O2"),
    ],
)
def test_formulas_are_read_in_any_order(given, formula):
    composition = Composition.read(given, SCHEMA)
    assert composition.formula == formula
    assert composition.n_atoms == sum(composition.counts.values())


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("", "is no formula"),
        ("c6h6", "is no formula"),
        ("C6-H6", "is no formula"),
        ("C-1", "is no formula"),
        ("C0H4", "0 atoms of C"),
        ({"C": 1.5}, "1.5 atoms of C"),
        ({}, "is empty"),
        (7, "composition of int"),
        ("Xy2", "no element 'Xy'"),
        ("CH3F", "the model knows no F; expected elements of H, C, N, O|the model knows no F"),
        ("CH3", "9 electrons, and an odd number closes no shell"),
        ("C2H8", "too few bonds"),
    ],
)
def test_what_no_molecule_has_is_refused_with_its_reason(given, words):
    with pytest.raises(RequestError, match=words):
        Composition.read(given, SCHEMA)


def test_assignments_are_the_best_of_all_that_use_up_what_is_left():
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(7, 3, generator=generator, dtype=torch.float64)
    batch = torch.tensor([0, 0, 0, 0, 1, 1, 1])
    left = torch.tensor([[2, 1, 1], [0, 3, 0]])
    codes = assign(scores, left, batch)
    assert torch.bincount(codes[:4], minlength=3).tolist() == [2, 1, 1]
    assert codes[4:].tolist() == [1, 1, 1]
    best = max(
        sum(float(scores[i, code]) for i, code in enumerate(order)) for order in itertools.permutations([0, 0, 1, 2])
    )
    assert float(scores[torch.arange(4), codes[:4]].sum()) == pytest.approx(best)


def test_balanced_probabilities_sum_to_what_is_left():
    generator = torch.Generator().manual_seed(1)
    chances = torch.rand(9, 3, generator=generator, dtype=torch.float64)
    batch = torch.tensor([0] * 4 + [1] * 5)
    left = torch.tensor([[3, 1, 0], [1, 2, 2]])
    balanced = balance(chances / chances.sum(1, keepdim=True), left, batch)
    assert torch.allclose(balanced.sum(1), torch.ones(9).double())
    sums = torch.zeros(2, 3).double().index_add_(0, batch, balanced)
    assert torch.allclose(sums, left.double(), atol=1e-3)


def test_a_balanced_draw_leaves_atoms_the_elements_they_look_like():
    chances = torch.tensor([[0.9, 0.1], [0.8, 0.2], [0.6, 0.4]], dtype=torch.float64)
    balanced = balance(chances, torch.tensor([[2, 1]]), torch.zeros(3, dtype=torch.int64))
    assert balanced[:, 1].argmax() == 2
    assert assign(balanced.log(), torch.tensor([[2, 1]]), torch.zeros(3, dtype=torch.int64)).tolist() == [0, 0, 1]
