"""Metrics of relaxations: medians, means and their intervals."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from molgen.chemistry import metrics
from molgen.chemistry.strain import RELAXATION_METRICS, mean, median, relaxation_metrics

numbers = st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=60)


@given(numbers)
def test_a_median_lies_in_its_interval_and_the_interval_among_the_numbers(values):
    found = median(np.array(values))
    assert min(values) <= found.low <= found.value <= found.high <= max(values)
    assert found.value == pytest.approx(np.median(values))
    assert found.n == len(values)


@given(numbers)
def test_a_mean_lies_in_its_interval(values):
    found = mean(np.array(values))
    assert found.low <= found.value <= found.high
    assert found.value == pytest.approx(np.mean(values))


@pytest.mark.parametrize("measure", [median, mean])
def test_an_interval_holds_the_truth_in_about_95_of_100_samples(measure):
    rng = np.random.default_rng(0)
    truth = {median: math.log(2), mean: 1.0}[measure]  # of the exponential distribution
    found = [measure(rng.exponential(size=50)) for _ in range(1000)]
    held = np.mean([each.low <= truth <= each.high for each in found])
    assert 0.91 < held < 0.985


def test_the_interval_of_a_median_is_that_of_the_tables():
    # ranks of the 95 % interval, Conover 1999, table A3
    for n, first in ((6, 1), (10, 2), (20, 6), (50, 18), (100, 40)):
        found = median(np.arange(1.0, n + 1))
        assert (found.low, found.high) == (first, n + 1 - first)


def test_what_did_not_converge_counts_against_the_share_and_not_in_the_energies():
    found = relaxation_metrics([0.1, math.nan, 0.3], [0.01, math.nan, 0.03], [True, False, True], [True, None, False])
    assert (found["strain"].value, found["strain"].n) == (pytest.approx(0.2), 2)
    assert (found["relaxed"].value, found["relaxed"].n) == (pytest.approx(2 / 3), 3)
    assert found["kept_bonds"].value == 0.5


def test_where_nothing_converged_there_is_no_strain():
    assert list(relaxation_metrics([math.nan], [math.nan], [False], [None])) == ["relaxed"]
    assert relaxation_metrics([], [], [], []) == {}


def test_the_table_for_people_has_energies_in_their_unit():
    found = relaxation_metrics([0.1, 0.3], [0.01, 0.03], [True, True], [True, True])
    lines = metrics.comparison_table({"molecules": metrics.Metrics(found)}).splitlines()
    assert [line.split("  ")[0] for line in lines[2:]] == [
        "strain, eV",
        "strain_mean, eV",
        "relax_rmsd, Å",
        "relaxed",
        "kept_bonds",
    ]
    assert "0.200 (0.100–0.300) of 2" in lines[2]
    assert "100.00 (34.24–100.00) of 2" in lines[5]


def test_no_name_is_used_twice():
    names = [each.name for each in (*metrics.METRICS, *RELAXATION_METRICS)]
    assert len(set(names)) == len(names)
