"""On Gaussian data with the exact denoiser, every sampler reproduces mean, covariance and element frequencies."""

from __future__ import annotations

from typing import get_args

import pytest
import torch
from gaussian_data import ATOMS, CODECS, FREQUENCIES, SPREAD, ExactDenoiser, draw
from molgen_diffusion.config import EDMConfig, FlowConfig, KarrasConfig, ScheduleConfig
from molgen_diffusion.edm import EDM
from molgen_diffusion.flow import Flow
from molgen_diffusion.karras import Karras

from molgen.interfaces import Codec, Process, Request, Sampler
from molgen.random import Streams

MOLECULES = 1500
# 4 standard errors of a variance of 4500 free coordinates, plus the schedule's own error
TOLERANCE = 0.1

SAMPLERS: dict[str, tuple[Sampler, int]] = {
    "karras-euler": (Karras(KarrasConfig(churn=0.0, order=1, sigma_max=80.0)), 400),
    "karras-euler-churn": (Karras(KarrasConfig(churn=40.0, order=1, sigma_max=80.0)), 400),
    "karras-heun": (Karras(KarrasConfig(churn=0.0, order=2, sigma_max=80.0)), 50),
    "karras-heun-churn": (Karras(KarrasConfig(churn=20.0, order=2, sigma_max=80.0)), 200),
    "flow-euler": (Flow(FlowConfig(order=1, sigma_max=80.0)), 400),
    "flow-heun": (Flow(FlowConfig(order=2, sigma_max=80.0)), 50),
    "edm": (EDM(EDMConfig(sigma_max=80.0)), 400),
}
KINDS = get_args(ScheduleConfig.model_fields["kind"].annotation)
SCHEDULES = {
    f"{use}-{kind}": (made, 100)
    for kind in KINDS
    for use, made in (
        ("karras", Karras(KarrasConfig(churn=0.0, order=2, sigma_max=80.0, schedule={"kind": kind}))),
        ("flow", Flow(FlowConfig(order=2, sigma_max=80.0, schedule={"kind": kind}))),
    )
}


def moments_are_those_of_the_data(sampler: Sampler, n_steps: int, codec: Codec) -> None:
    model = ExactDenoiser(codec)
    positions, species = draw(sampler, model, MOLECULES, n_steps)
    assert positions.mean(1).abs().max() < 1e-9  # no centre of mass
    mean = positions.mean(0)
    # five standard errors of each coordinate's mean, plus what a start at σ_max instead of infinity leaves of it
    started = 1.5 * SPREAD / 80.0
    assert ((mean - model.mean).abs() < 5 * SPREAD / MOLECULES**0.5 + started).all()
    centred = (positions - mean).reshape(-1, 3)
    free = MOLECULES * (ATOMS - 1)
    covariance = centred.T @ centred / free
    relative = covariance / (SPREAD[:, None] * SPREAD[None])
    assert (relative - torch.eye(3)).abs().max() < TOLERANCE
    found = torch.stack([(species == z).double().mean() for z in model.elements])
    assert (found - FREQUENCIES).abs().max() < 0.03


@pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)
@pytest.mark.parametrize(("sampler", "n_steps"), SAMPLERS.values(), ids=SAMPLERS)
def test_mean_covariance_and_elements_are_those_of_the_data(sampler: Sampler, n_steps: int, codec: Codec) -> None:
    moments_are_those_of_the_data(sampler, n_steps, codec)


@pytest.mark.parametrize(("sampler", "n_steps"), SCHEDULES.values(), ids=SCHEDULES)
def test_they_are_with_every_schedule(sampler: Sampler, n_steps: int) -> None:
    moments_are_those_of_the_data(sampler, n_steps, CODECS["masked"])


def test_one_step_is_enough_to_reach_the_end() -> None:
    samplers = (Karras(KarrasConfig()), EDM(EDMConfig()), Flow(FlowConfig()), Flow(FlowConfig(order=2)))
    for sampler in (*samplers, *(made for made, _ in SCHEDULES.values())):
        positions, species = draw(sampler, ExactDenoiser(CODECS["masked"]), 10, 1)
        assert torch.isfinite(positions).all()
        assert set(species.tolist()) <= {1, 6, 8}


@pytest.mark.parametrize("sampler", [Karras(KarrasConfig()), Flow(FlowConfig(order=2)), EDM(EDMConfig())])
def test_molecules_are_the_same_again_alone_and_in_a_batch(sampler: Sampler) -> None:
    model = ExactDenoiser(CODECS["gaussian"])
    whole = torch.arange(5)
    *_, batch = sampler.sample(model, Request(torch.full((5,), ATOMS), 20, 3, whole), Streams(3, whole))
    *_, again = sampler.sample(model, Request(torch.full((5,), ATOMS), 20, 3, whole), Streams(3, whole))
    *_, alone = sampler.sample(model, Request(torch.full((1,), ATOMS), 20, 3, whole[4:]), Streams(3, whole[4:]))
    assert torch.equal(batch.structures.positions, again.structures.positions)
    assert torch.allclose(batch.structures.positions[-ATOMS:], alone.structures.positions, atol=1e-10)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"coupling": "transport"}, "transport"),
        ({"perturbation": "pfgm:128"}, "pfgm:128"),
        ({"target": "consistency"}, "consistency"),
        ({"self_conditioning": True}, "previous estimate"),
        ({"sigma_min": 90.0, "sigma_max": 100.0}, "it learned noise of 90 to 100 Å"),
    ],
)
def test_a_process_that_can_not_be_inverted_is_refused_with_the_reason(change: dict, word: str) -> None:
    given = {"parametrisation": "karras", "sigma_data": 1.4, "sigma_min": 0.01, "sigma_max": 10.0, "codecs": CODECS}
    for sampler in (Karras(KarrasConfig()), EDM(EDMConfig()), Flow(FlowConfig())):
        for parametrisation in ("karras", "edm"):
            assert sampler.accepts(Process(**given | {"parametrisation": parametrisation})) is None
        reason = sampler.accepts(Process(**given | change))
        assert reason is not None
        assert word in reason
