import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from molgen.errors import RequestError
from molgen.generation.request import check_count, check_seed, draw_sizes, refuse_unsupported
from molgen.interfaces import Schema

SCHEMA = Schema(elements=(1, 6), size_counts={3: 10, 5: 30, 6: 0, 9: 60})


@given(n=st.integers(1, 40), more=st.integers(0, 20), seed=st.integers(-(2**63), 2**64 - 1))
def test_the_size_of_a_molecule_depends_on_seed_and_index_alone(n, more, seed):
    few, many = draw_sizes(SCHEMA, n, seed=seed), draw_sizes(SCHEMA, n + more, seed=seed)
    assert few.tolist() == many[:n].tolist()


def test_sizes_follow_the_histogram_of_the_data():
    sizes = draw_sizes(SCHEMA, 20_000, seed=1)
    shares = [(sizes == size).double().mean().item() for size in (3, 5, 6, 9)]
    # three standard errors of a share of 20 000 draws stay below 0.011
    assert shares == pytest.approx([0.1, 0.3, 0.0, 0.6], abs=0.011)


def test_a_range_takes_its_part_of_the_histogram_with_both_ends():
    sizes = draw_sizes(SCHEMA, 20_000, seed=1, n_atoms="3-5")
    assert set(sizes.tolist()) == {3, 5}
    assert (sizes == 5).double().mean().item() == pytest.approx(0.75, abs=0.011)


@pytest.mark.parametrize("n_atoms", [5, "5", " 5 ", (5, 5), [5, 5], torch.tensor(5)])
def test_one_number_fixes_every_size(n_atoms):
    assert draw_sizes(SCHEMA, 3, seed=0, n_atoms=n_atoms).tolist() == [5, 5, 5]


@pytest.mark.parametrize("n_atoms", ["3-9", "3 - 9", "3–9", (3, 9)])
def test_a_range_is_read_in_every_spelling(n_atoms):
    assert draw_sizes(SCHEMA, 50, seed=0, n_atoms=n_atoms).tolist() == draw_sizes(SCHEMA, 50, seed=0).tolist()


@pytest.mark.parametrize("n_atoms", [2, 10, "2-5", "5-10", (1, 100)])
def test_counts_outside_what_the_model_has_seen_are_refused_with_the_range(n_atoms):
    with pytest.raises(RequestError, match=r"outside what the model has seen.*3 to 9 atoms"):
        draw_sizes(SCHEMA, 1, seed=0, n_atoms=n_atoms)


@pytest.mark.parametrize("n_atoms", [6, 7, "6-8"])
def test_counts_in_a_gap_of_the_data_are_refused_with_the_nearest(n_atoms):
    with pytest.raises(RequestError, match=r"seen no molecule of .* 5 and 9"):
        draw_sizes(SCHEMA, 1, seed=0, n_atoms=n_atoms)


@pytest.mark.parametrize(
    "n_atoms", ["", "x", "-3", "3-", "3-5-9", "1e3", 4.0, True, (3,), (3, 4, 5), (3, "5"), 0, -1, "9-3"]
)
def test_counts_that_can_not_be_read_are_refused(n_atoms):
    with pytest.raises(RequestError):
        draw_sizes(SCHEMA, 1, seed=0, n_atoms=n_atoms)


@pytest.mark.parametrize("value", [0, -4, 1.5, "3", None, True, 2**32 + 1])
def test_numbers_of_molecules_below_one_or_no_integers_are_refused(value):
    with pytest.raises(RequestError, match=r"^n is"):
        check_count(value, "n")


@pytest.mark.parametrize("value", [2**64, -(2**63) - 1, "0", 0.5, None])
def test_seeds_that_do_not_fit_are_refused(value):
    with pytest.raises(RequestError, match=r"^seed is"):
        check_seed(value)


def test_what_comes_later_is_refused_by_name():
    with pytest.raises(RequestError, match=r"not supported .*\(targets\)"):
        refuse_unsupported(targets="something")


def test_a_substructure_leaves_the_sizes_that_hold_it():
    schema = Schema(elements=(1, 6), size_counts={3: 5, 5: 1, 8: 1})
    assert set(draw_sizes(schema, 50, seed=0, at_least=4).tolist()) == {5, 8}
    with pytest.raises(RequestError, match="5 atoms at most can't hold a substructure of 6"):
        draw_sizes(schema, 1, seed=0, n_atoms="3-5", at_least=6)
