"""Learning rates by step, and durations as people write them."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from molgen.errors import ConfigError
from molgen.training.config import TrainingSection
from molgen.training.duration import parse_duration
from molgen.training.schedules import Anneal, learning_rate_factor

SCHEDULES = ("cosine", "constant", "warmup-stable-decay")


@given(st.sampled_from(SCHEDULES), st.integers(1, 500), st.integers(0, 600), st.floats(0.0, 1.0), st.floats(0.01, 1.0))
def test_factors_lie_between_zero_and_one_and_never_rise_after_the_warm_up(name, steps, warmup, final, decay):
    section = TrainingSection(
        steps=steps, warmup_steps=warmup, schedule=name, final_fraction=final, decay_fraction=decay
    )
    factors = [learning_rate_factor(section, step) for step in range(steps + 3)]
    assert all(0.0 <= factor <= 1.0 for factor in factors)
    later = factors[warmup:]
    assert all(after <= before + 1e-12 for before, after in itertools.pairwise(later))


@pytest.mark.parametrize("name", ["cosine", "warmup-stable-decay"])
def test_a_schedule_ends_at_its_final_fraction(name):
    section = TrainingSection(steps=100, warmup_steps=10, schedule=name, final_fraction=0.05)
    assert learning_rate_factor(section, 100) == pytest.approx(0.05)
    assert learning_rate_factor(section, 10) == pytest.approx(1.0)


def test_the_warm_up_is_linear():
    section = TrainingSection(steps=100, warmup_steps=10, schedule="constant")
    assert [learning_rate_factor(section, step) for step in (0, 4, 9, 10)] == pytest.approx([0.1, 0.5, 1.0, 1.0])


def test_warmup_stable_decay_is_flat_until_its_last_part():
    section = TrainingSection(steps=100, warmup_steps=0, schedule="warmup-stable-decay", decay_fraction=0.2)
    assert {learning_rate_factor(section, step) for step in range(81)} == {1.0}
    assert learning_rate_factor(section, 85) == pytest.approx(0.01 + 0.99 * 0.5)  # 1 - √(1/4)


def test_an_anneal_falls_over_its_own_length_whatever_the_schedule():
    for name in SCHEDULES:
        section = TrainingSection(steps=10_000, warmup_steps=0, schedule=name, final_fraction=0.0)
        anneal = Anneal(start=50, length=40)
        assert learning_rate_factor(section, 50, anneal) == 1.0
        assert learning_rate_factor(section, 60, anneal) == pytest.approx(0.5)
        assert learning_rate_factor(section, anneal.end, anneal) == 0.0


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("90s", 90), ("20m", 1200), ("1h30m", 5400), ("0.5h", 1800), ("2d", 172800), (5, 5)],
)
def test_durations_are_read(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "m", "20 minutes", "-5m", "0", "20x", "m20", "1e400", float("inf"), float("nan"), -1]
)
def test_what_is_no_duration_is_refused(text):
    with pytest.raises(ConfigError, match="no duration"):
        parse_duration(text)
