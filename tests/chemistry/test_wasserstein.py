"""Distances beside scipy's, type by type, and what intervals promise."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import wasserstein_distance

from molgen.chemistry.internal import Coordinates
from molgen.chemistry.wasserstein import LEAST, compared, distance

TOLERANCE = 1e-12


def drawn(seed: int, counts: dict[int, int], n_molecules: int = 30, shift: float = 0.0) -> Coordinates:
    """Normal values around the number of each type."""
    generator = np.random.default_rng(seed)
    types = np.repeat(np.array(list(counts), dtype=np.int64), list(counts.values()))
    values = generator.normal(types + shift, 0.1)
    return Coordinates(values, types, generator.integers(n_molecules, size=len(types)), n_molecules)


def slow(sample: Coordinates, reference: Coordinates) -> float:
    total = weights = 0.0
    for kind in set(sample.types.tolist()) & set(reference.types.tolist()):
        mine, known = sample.values[sample.types == kind], reference.values[reference.types == kind]
        if len(mine) >= LEAST and len(known) >= LEAST:
            total += len(known) * wasserstein_distance(mine, known)
            weights += len(known)
    return total / weights


SAMPLE = drawn(0, {3: 40, 5: 200, 7: 9, 8: 50, 11: 80})
REFERENCE = drawn(1, {3: 300, 5: 100, 7: 500, 9: 40, 11: 9}, shift=0.05)


def test_the_value_is_scipys_averaged_with_the_references_frequencies():
    found = distance(SAMPLE, REFERENCE)
    assert found.value == pytest.approx(slow(SAMPLE, REFERENCE), abs=TOLERANCE)
    assert found.low <= found.value <= found.high


def test_types_that_are_rare_on_either_side_are_left_out_and_counted():
    assert distance(SAMPLE, REFERENCE).n == 40 + 200
    assert compared(SAMPLE, REFERENCE) == pytest.approx((300 + 100) / len(REFERENCE.values))
    few = drawn(2, {3: LEAST - 1, 5: 1})
    assert distance(few, REFERENCE) is None
    assert compared(few, REFERENCE) == 0
    none = Coordinates(np.zeros(0), np.zeros(0, np.int64), np.zeros(0, np.int64), 1)
    assert distance(none, REFERENCE) is distance(SAMPLE, none) is None
    assert compared(SAMPLE, none) == 0


def test_a_set_is_at_no_distance_from_itself_and_a_shift_is_its_size():
    assert distance(SAMPLE, SAMPLE).value == 0
    shifted = Coordinates(SAMPLE.values + 0.25, SAMPLE.types, SAMPLE.owners, SAMPLE.n_molecules)
    assert distance(shifted, SAMPLE).value == pytest.approx(0.25, abs=TOLERANCE)


def test_equal_values_and_values_that_all_types_share_make_no_difference():
    types = np.repeat([1, 2], 20)
    ties = Coordinates(np.tile([1.0, 2.0], 20), types, np.arange(40), 40)
    others = Coordinates(np.tile([1.0, 2.0, 2.0, 2.0], 10), types, np.arange(40), 40)
    assert distance(ties, others).value == pytest.approx(0.25, abs=TOLERANCE)


def test_a_resample_is_the_distance_of_the_repeated_molecules():
    """The interval is that of a loop which repeats each molecule as often as it was drawn."""
    generator, found = np.random.default_rng(4), []
    n = SAMPLE.n_molecules
    for _ in range(100):
        picked = generator.integers(n, size=n)
        rows = np.concatenate([np.flatnonzero(SAMPLE.owners == molecule) for molecule in picked])
        again = Coordinates(SAMPLE.values[rows], SAMPLE.types[rows], SAMPLE.owners[rows], n)
        kept = [kind for kind in (3, 5) if (again.types == kind).any()]
        areas = {k: wasserstein_distance(again.values[again.types == k], REFERENCE.values[REFERENCE.types == k])
                 for k in kept}  # fmt: skip
        weights = {3: 300, 5: 100}
        found.append(sum(weights[k] * areas[k] for k in kept) / sum(weights[k] for k in kept))
    half = 1.96 * np.std(found, ddof=1)
    value = slow(SAMPLE, REFERENCE)
    metric = distance(SAMPLE, REFERENCE, seed=4)
    assert (metric.low, metric.high) == pytest.approx((max(value - half, 0), value + half), abs=1e-9)


def test_a_type_that_a_resample_lost_is_left_out_of_it():
    """All values of one type come from one molecule, which a third of the resamples lack."""
    types = np.repeat([1, 2], 20)
    owners = np.concatenate([np.zeros(20, np.int64), np.arange(20) % 5])
    sample = Coordinates(np.linspace(0, 1, 40), types, owners, 5)
    found = distance(sample, Coordinates(np.linspace(0, 2, 40), types, np.arange(40), 40))
    assert np.isfinite([found.low, found.high]).all()


def test_intervals_are_the_same_for_a_seed_and_hold_the_spread_of_samples():
    assert distance(SAMPLE, REFERENCE, seed=1) == distance(SAMPLE, REFERENCE, seed=1)
    assert distance(SAMPLE, REFERENCE, seed=1) != distance(SAMPLE, REFERENCE, seed=2)
    far = drawn(99, {3: 4000}, shift=0.3)
    values = [distance(drawn(seed, {3: 200}, 100), far) for seed in range(40)]
    # 95 % of the intervals, give or take, hold the distance of the sources
    assert sum(each.low <= 0.3 <= each.high for each in values) >= 33


def test_values_of_a_molecule_stay_together():
    """Twenty molecules of equal values know less than four hundred that are independent."""
    generator = np.random.default_rng(0)
    levels = generator.normal(size=20)
    owners = np.repeat(np.arange(20), 20)
    types = np.ones(400, np.int64)
    reference = Coordinates(generator.normal(1.0, size=1000), np.ones(1000, np.int64), np.arange(1000), 1000)
    together = distance(Coordinates(levels[owners], types, owners, 20), reference)
    apart = distance(Coordinates(levels[owners], types, np.arange(400), 400), reference)
    assert together.value == apart.value
    assert together.high - together.low > 2 * (apart.high - apart.low)
