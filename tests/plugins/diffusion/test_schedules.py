"""Schedules fall from the largest noise to the smallest and end at zero, each by the rule of its source."""

from __future__ import annotations

import math
from typing import get_args

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from molgen_diffusion.config import KarrasConfig, ScheduleConfig
from molgen_diffusion.schedules import (
    arcsin_schedule,
    beta_schedule,
    cosine_schedule,
    flow_time,
    noise_levels,
    rho_schedule,
    uniform_schedule,
)
from scipy import stats

import molgen
from molgen.errors import ConfigError

KINDS = get_args(ScheduleConfig.model_fields["kind"].annotation)
LOW, HIGH = 0.01, 15.0  # Å


@pytest.mark.parametrize("kind", KINDS)
@given(
    n_steps=st.integers(1, 300),
    low=st.floats(1e-4, 0.1),
    high=st.floats(0.5, 100.0),
    shape=st.floats(0.3, 3.0),
    mix=st.floats(0.0, 2.75),
)
def test_levels_fall_from_the_largest_to_the_smallest_and_end_at_zero(
    kind: str, n_steps: int, low: float, high: float, shape: float, mix: float
) -> None:
    schedule = ScheduleConfig(kind=kind, rho=7 * shape, alpha=shape, beta=shape, mix=mix)
    levels = noise_levels(schedule, n_steps, low, high)
    assert levels.shape == (n_steps + 1,)
    assert levels.dtype == torch.float64
    assert float(levels[0]) == pytest.approx(high, rel=1e-9)
    assert float(levels[-1]) == 0.0
    assert (levels[:-1] >= low).all()
    assert (levels <= high).all()
    assert (levels.diff() <= 0).all()
    if n_steps > 1 and kind != "uniform":
        assert float(levels[-2]) == pytest.approx(low, rel=1e-6)


def test_uniform_steps_are_equal_in_the_time_of_the_path_while_they_are_not_too_many() -> None:
    few = torch.tensor([flow_time(sigma) for sigma in uniform_schedule(10, LOW, HIGH).tolist()])
    assert torch.allclose(few.diff(), few.diff()[:1])
    many = uniform_schedule(1000, LOW, HIGH)
    assert float(many[-2]) == pytest.approx(LOW)


def test_rho_of_one_is_even_in_the_noise_itself() -> None:
    steps = rho_schedule(9, LOW, HIGH, 1.0)[:-1].diff()
    assert torch.allclose(steps, steps[:1])


def test_cosine_levels_are_those_of_nichol_and_dhariwal() -> None:
    s, n = 0.008, 1000  # of the paper
    angle = (torch.linspace(0, 1, n + 1, dtype=torch.float64) + s) / (1 + s) * math.pi / 2
    # times 1 … n, whose last the paper cuts, as ᾱ is zero there
    theirs = torch.sqrt(1 / torch.cos(angle).square() - 1)[1:-1].flip(0)
    ours = cosine_schedule(n - 1, float(theirs[-1]), float(theirs[0]))
    assert torch.allclose(ours[:-1], theirs, rtol=1e-6)


def test_arcsin_without_a_mixture_is_even_in_the_logarithm_and_with_it_denser_in_the_middle() -> None:
    even = arcsin_schedule(21, LOW, HIGH, 0.0)[:-1].log().diff().abs()
    assert torch.allclose(even, even[:1])
    mixed = arcsin_schedule(21, LOW, HIGH, 2.0)[:-1].log().diff().abs()
    assert mixed[10] < 0.5 * even[10]
    assert mixed[0] > 2 * even[0]
    assert mixed[-1] > 2 * even[-1]


@pytest.mark.parametrize(("alpha", "beta"), [(0.6, 0.6), (1.0, 1.0), (2.0, 0.5)])
def test_beta_levels_are_quantiles_of_the_distribution(alpha: float, beta: float) -> None:
    levels = beta_schedule(11, LOW, HIGH, alpha, beta)[:-1]
    noise, ends = levels / (1 + levels), (LOW / (1 + LOW), HIGH / (1 + HIGH))
    quantiles = stats.beta.cdf((noise.numpy() - ends[0]) / (ends[1] - ends[0]), alpha, beta)
    assert quantiles == pytest.approx([1 - k / 10 for k in range(11)], abs=1e-6)


def test_the_option_rho_of_older_configs_is_the_schedule_of_that_curvature() -> None:
    old = KarrasConfig(n_steps=30, rho=5.0)
    assert old == KarrasConfig(n_steps=30, schedule={"kind": "rho", "rho": 5.0})
    assert KarrasConfig(**old.model_dump()) == old
    # given for a trained model, where all its options stand beside it
    stored = KarrasConfig(schedule={"kind": "cosine"}).model_dump()
    assert KarrasConfig(**stored, rho=5.0).schedule == ScheduleConfig(kind="rho", rho=5.0)


@pytest.mark.parametrize(
    ("use", "config", "says"),
    [
        ("karras", {"schedule": {"kind": "linear"}}, "schedule.kind"),
        ("karras", {"schedule": {"kin": "beta"}}, "did you mean.*kind"),
        ("karras", {"schedule": {"kind": "arcsin", "mix": 3.0}}, "schedule.mix"),
        ("karras", {"rho": 0.0}, "rho"),
        ("flow", {"schedule": {"kind": "beta", "alpha": 0.0}}, "schedule.alpha"),
        ("flow", {"churn": 1.0}, "churn"),
        ("flow", {"order": 3}, "order"),
        ("flow", {"times": "normal"}, "times"),
        ("flow", {"time_std": 0.0}, "time_std"),
        ("flow", {"n_steps": 0}, "n_steps"),
        ("flow", {"sigma_min": 2.0, "sigma_max": 1.0}, "must lie below"),
    ],
)
def test_options_that_can_not_be_used_are_refused_by_name(use: str, config: dict, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        molgen.build("sampler", use, config=config)
