"""Counter-based random numbers: the published vectors, and the laws that runs rely on."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from molgen.random import Streams, philox

SEEDS = st.integers(-(2**63), 2**63 - 1)
INDICES = st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=5, unique=True)


def word(text: str) -> list[int]:
    return [int(each, 16) for each in text.split()]


@pytest.mark.parametrize(
    ("counter", "key", "published"),  # Random123's kat_vectors, philox4x32 10
    [
        ("0 0 0 0", "0 0", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
    ],
)
def test_philox_gives_the_published_vectors(counter: str, key: str, published: str) -> None:
    first, second = word(key)
    assert philox(torch.tensor(word(counter)), (first, second)).tolist() == word(published)


def slow_philox(counter: list[int], key: list[int]) -> list[int]:
    """Salmon et al. 2011, section 3.3, in integers without bound."""
    mask = 2**32 - 1
    for _ in range(10):
        high0, low0 = divmod(0xD2511F53 * counter[0], 2**32)
        high1, low1 = divmod(0xCD9E8D57 * counter[2], 2**32)
        counter = [high1 ^ counter[1] ^ key[0], low1, high0 ^ counter[3] ^ key[1], low0]
        key = [(key[0] + 0x9E3779B9) & mask, (key[1] + 0xBB67AE85) & mask]
    return counter


WORD = st.integers(0, 2**32 - 1)


@given(counters=st.lists(st.tuples(WORD, WORD, WORD, WORD), min_size=1, max_size=4), key=st.tuples(WORD, WORD))
def test_philox_is_that_of_the_paper_for_any_counter_and_key(counters: list[tuple], key: tuple[int, int]) -> None:
    expected = [slow_philox(list(counter), list(key)) for counter in counters]
    assert philox(torch.tensor(counters), key).tolist() == expected


@given(seed=SEEDS, indices=INDICES, data=st.data())
def test_a_molecule_draws_the_same_in_any_batch(seed: int, indices: list[int], data: st.DataObject) -> None:
    counts = data.draw(st.lists(st.integers(0, 5), min_size=len(indices), max_size=len(indices)))
    width, step = data.draw(st.integers(1, 9)), data.draw(st.integers(0, 10_000))
    together = Streams(seed, indices).normal("noise", step=step, counts=counts, width=width)
    assert together.shape == (sum(counts), width)
    for index, count, mine in zip(indices, counts, together.split(counts), strict=True):
        alone = Streams(seed, [index]).normal("noise", step=step, counts=[count], width=width)
        assert torch.equal(alone, mine)


@given(seed=SEEDS, indices=INDICES)
def test_a_molecule_of_more_atoms_draws_the_same_for_the_first_ones(seed: int, indices: list[int]) -> None:
    few = Streams(seed, indices[:1]).words("noise", counts=[3], width=3)
    many = Streams(seed, indices[:1]).words("noise", counts=[7], width=3)
    assert torch.equal(many[:3], few)


@given(seed=SEEDS, indices=INDICES, data=st.data())
def test_selected_streams_draw_as_before(seed: int, indices: list[int], data: st.DataObject) -> None:
    keep = data.draw(st.lists(st.integers(0, len(indices) - 1), min_size=1))
    streams = Streams(seed, indices)
    assert torch.equal(streams.select(keep).words("noise"), streams.words("noise")[keep])


def test_seed_index_step_purpose_and_element_each_change_every_number() -> None:
    drawn = [
        Streams(0, [0]).words("noise", counts=[50], width=4),
        Streams(1, [0]).words("noise", counts=[50], width=4),
        Streams(2**32, [0]).words("noise", counts=[50], width=4),
        Streams(-1, [0]).words("noise", counts=[50], width=4),
        Streams(0, [1]).words("noise", counts=[50], width=4),
        Streams(0, [0]).words("noise", step=1, counts=[50], width=4),
        Streams(0, [0]).words("types", counts=[50], width=4),
    ]
    everything = torch.stack(drawn).reshape(-1)
    assert len(everything.unique()) == len(everything)  # a collision of 1 400 words has probability 2e-4


N = 200_000
DEVIATIONS = 4.0  # standard errors; a fixed seed either passes or doesn't


def test_uniform_numbers_have_the_moments_and_the_bins_of_the_open_unit_interval() -> None:
    for dtype in (torch.float32, torch.float64):
        u = Streams(3, [0]).uniform("u", counts=[N // 4], width=4, dtype=dtype).reshape(-1).double()
        assert 0 < u.min() < 1e-4
        assert 1 - 1e-4 < u.max() < 1
        assert abs(u.mean() - 0.5) < DEVIATIONS * math.sqrt(1 / 12 / N)
        assert abs(u.var() - 1 / 12) < DEVIATIONS * math.sqrt(1 / 180 / N)
        bins = torch.histc(u, 64, 0, 1)
        chi2 = ((bins - N / 64) ** 2 / (N / 64)).sum()
        assert abs(chi2 - 63) < DEVIATIONS * math.sqrt(2 * 63)


def test_the_extreme_words_give_uniform_numbers_inside_the_open_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    streams = Streams(0, [0])
    monkeypatch.setattr(streams, "words", lambda *_, **__: torch.tensor([[0, 2**32 - 1]]))
    for dtype in (torch.float32, torch.float64):
        low, high = streams.uniform("u", width=2, dtype=dtype)[0].tolist()
        assert low > 0
        assert high < 1
        assert torch.isfinite(streams.normal("u", width=2, dtype=dtype)).all()


@pytest.mark.parametrize("width", [1, 2, 3, 4, 7])
def test_normal_numbers_have_the_moments_of_the_standard_normal(width: int) -> None:
    x = Streams(5, [0]).normal("x", counts=[N // width], width=width, dtype=torch.float64)
    n = x.numel()
    for power, moment, variance in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)):
        assert abs((x**power).mean() - moment) < DEVIATIONS * math.sqrt(variance / n)
    tail = math.erfc(3 / math.sqrt(2))
    assert abs((x.abs() > 3).double().mean() - tail) < DEVIATIONS * math.sqrt(tail / n)


@pytest.mark.parametrize(
    "other",
    [{"purpose": "b"}, {"purpose": "a", "step": 1}, {"purpose": "a", "index": 1}, {"purpose": "a", "seed": 1}],
    ids=["purpose", "step", "molecule", "seed"],
)
def test_numbers_of_different_streams_are_not_correlated(other: dict) -> None:
    def draw(purpose: str, step: int = 0, index: int = 0, seed: int = 0) -> torch.Tensor:
        return Streams(seed, [index]).normal(purpose, step=step, counts=[N // 4], width=4, dtype=torch.float64)

    a, b = draw("a"), draw(**other)
    assert abs((a * b).mean()) < DEVIATIONS / math.sqrt(N)


def test_numbers_within_a_stream_are_not_correlated() -> None:
    x = Streams(0, [0]).normal("x", counts=[N // 4], width=4, dtype=torch.float64)
    correlation = x.T @ x / len(x) - torch.eye(4)
    assert correlation.abs().max() < DEVIATIONS * math.sqrt(2 / len(x))
    assert abs((x[1:] * x[:-1]).mean()) < DEVIATIONS / math.sqrt(N)


def test_drawing_leaves_the_global_generator_alone() -> None:
    state = torch.get_rng_state()
    Streams(0, [0]).normal("x", counts=[10])
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.gpu
def test_a_gpu_draws_the_same_numbers() -> None:
    here, there = Streams(9, range(100)), Streams(9, torch.arange(100), device="cuda")
    counts = list(range(100))
    for draw in ("words", "uniform", "normal"):
        a = getattr(here, draw)("x", step=3, counts=counts, width=5)
        b = getattr(there, draw)("x", step=3, counts=counts, width=5)
        assert b.device.type == "cuda"
        assert torch.equal(a, b.cpu()), draw
