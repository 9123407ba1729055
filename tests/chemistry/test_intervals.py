"""Intervals against published values, and against the coverage that they promise."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from molgen.chemistry.intervals import clustered_fraction, fraction


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_gives_the_values_of_newcombe_1998(successes, n, low, high):
    found = fraction(successes, n)
    assert (found.low, found.high) == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))
    assert (found.value, found.n) == (successes / n, n)


@given(st.integers(1, 10_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_an_interval_holds_its_value_and_stays_between_0_and_1(case):
    found = fraction(*case)
    assert 0 <= found.low <= found.value <= found.high <= 1
    assert found.low < found.high


@given(st.lists(st.integers(1, 30).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), min_size=1))
def test_a_clustered_interval_holds_its_value_and_stays_between_0_and_1(clusters):
    successes, sizes = np.array(clusters).T
    found = clustered_fraction(successes, sizes)
    assert found.value == pytest.approx(successes.sum() / sizes.sum())
    assert 0 <= found.low <= found.value <= found.high <= 1
    assert found.low < found.high
    assert found.n == sizes.sum()


def test_where_all_succeed_each_cluster_counts_once():
    sizes = np.full(10, 18)
    assert clustered_fraction(sizes, sizes).low == fraction(10, 10).low


def test_clusters_of_one_are_independent_trials():
    outcomes = np.array([1] * 70 + [0] * 30)
    clustered, plain = clustered_fraction(outcomes, np.ones_like(outcomes)), fraction(70, 100)
    assert clustered.low == pytest.approx(plain.low, abs=1e-3)
    assert clustered.high == pytest.approx(plain.high, abs=1e-3)


def test_atoms_that_share_their_molecules_fate_make_the_interval_wider_and_it_covers():
    rng = np.random.default_rng(0)
    covered, runs, truth = 0, 400, 0.9
    for _ in range(runs):
        sizes = rng.integers(5, 30, 100)
        chance = rng.beta(9, 1, 100)  # of each molecule's atoms; 0.9 on average
        found = clustered_fraction(rng.binomial(sizes, chance), sizes)
        covered += found.low <= truth <= found.high
    assert 0.92 <= covered / runs <= 0.98
    assert found.high - found.low > 2 * (fraction(round(truth * found.n), found.n).high - truth)
