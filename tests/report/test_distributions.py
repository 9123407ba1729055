"""Histograms: what is counted, and how a sample is laid beside its reference."""

from __future__ import annotations

import json
import math
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from molgen.report import Histogram, beside, distributions, spread
from molgen.report.plots import histogram, interval
from molgen.structures import concatenate

from .conftest import Measured, embedded

COUNTS = st.dictionaries(st.integers(-50, 400), st.integers(0, 10**6), max_size=12)
NAMED = st.dictionaries(st.text(max_size=3), st.integers(0, 10**6), max_size=6)
HISTOGRAMS = st.one_of(
    st.builds(Histogram, st.text(max_size=5), COUNTS, st.just("Å"), st.sampled_from([0.01, 1.0, 25.0])),
    st.builds(Histogram, st.text(max_size=5), NAMED),
)


def test_atoms_elements_and_bond_lengths_are_counted():
    ethanol = embedded("CCO")
    found = {h.title: h for h in distributions(concatenate([ethanol, ethanol, embedded("O")]))}
    assert found["Atoms per molecule"].counts == {3: 1, 9: 2}
    assert found["Elements"].counts == {"H": 14, "C": 4, "O": 3}
    assert {title: sum(h.counts.values()) for title, h in found.items() if "bonds" in title} == {
        "C–H bonds": 10,
        "C–C bonds": 2,
        "C–O bonds": 2,
        "H–O bonds": 4,
    }
    (first, second), length = ethanol.bonds[0].tolist(), 0.0
    length = float((ethanol.positions[first] - ethanol.positions[second]).norm())
    assert round(length / 0.01) in found["C–C bonds"].counts


def test_structures_without_known_bonds_have_no_lengths(molecules):
    alone = molecules.select([3])
    assert [h.title for h in distributions(alone)] == ["Atoms per molecule", "Elements"]


def test_a_pair_of_elements_that_only_the_reference_has_is_shown():
    joined = {h.title: h for h in beside(distributions(embedded("CC")), distributions(embedded("CCO")))}
    assert joined["C–O bonds"].counts == {}
    assert sum(joined["C–O bonds"].reference.values()) == 1
    assert joined["Elements"].reference == {"H": 6, "C": 2, "O": 1}


def test_a_histogram_overlaps_itself_wholly_and_strangers_not_at_all(molecules):
    for h in distributions(molecules):
        assert h.against(h).overlap() == pytest.approx(1)
        assert h.overlap() is None
    assert Histogram("a", {1: 2}, width=1).against(Histogram("a", {2: 2}, width=1)).overlap() == 0


@given(HISTOGRAMS)
def test_histograms_survive_json(h):
    assert Histogram.from_json(json.loads(json.dumps(h.to_json()))) == h


@pytest.mark.parametrize(
    "stored",
    [
        {},
        None,
        {"title": "a", "unit": "", "width": 0, "counts": {}},
        {"title": "a", "unit": "", "width": float("nan"), "counts": {}},
        {"title": "a", "unit": "", "width": 1, "counts": {"x": 1}},
        {"title": "a", "unit": "", "width": 1, "counts": {"1": -1}},
        {"title": "a", "unit": "", "width": 1, "counts": {"1": 10**400}},
        {"title": "a", "unit": "", "width": 1, "counts": 7},
    ],
)
def test_json_that_is_no_histogram_is_refused(stored):
    with pytest.raises((KeyError, TypeError, ValueError)):
        Histogram.from_json(stored)


@given(HISTOGRAMS, st.booleans())
def test_any_histogram_can_be_plotted_with_bars_as_high_as_their_shares(h, compared):
    plot = histogram(h.against(h) if compared else h)
    assert "nan" not in plot
    assert ("<polyline" in plot) == (compared and sum(h.counts.values()) > 0)
    assert ("<svg" in plot) == (sum(h.counts.values()) > 0)


def test_a_histogram_of_absurd_range_stays_a_small_plot():
    assert len(histogram(Histogram("a", {0: 1, 10**12: 1}, width=1.0))) < 20_000


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0, math.nan])
def test_an_interval_is_drawn_inside_its_axis(value):
    plot = interval(Measured(value, value, value, 1), Measured(value, value, value, 1))
    assert "nan" not in plot
    assert ("circle" in plot) == (not math.isnan(value))


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=80), st.sampled_from(["eV", "Å"]))
@example([5e-324], "eV")
def test_numbers_of_any_size_are_counted_in_a_few_bins(values, unit):
    (found,) = spread("Strain", values, unit)
    beyond = re.search(r"\((\d+) above", found.title)
    assert sum(found.counts.values()) + (int(beyond[1]) if beyond else 0) == len(values)
    assert max(found.counts) - min(found.counts) <= 41
    assert histogram(found).startswith("<svg")


def test_a_few_large_numbers_do_not_hide_the_others():
    (found,) = spread("Strain", [0.1, 0.2, 0.3, 0.4] * 10 + [900.0, math.nan], "eV")
    assert found.title == "Strain (1 above 1.2 eV not shown)"
    assert found.width == 0.01
    assert spread("Strain", [math.nan], "eV") == []
