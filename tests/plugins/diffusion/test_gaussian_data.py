"""On Gaussian data with the exact denoiser, every sampler reproduces mean, covariance and element frequencies."""

from __future__ import annotations

import pytest
import torch
from molgen_diffusion.config import EDMConfig, KarrasConfig
from molgen_diffusion.edm import EDM
from molgen_diffusion.karras import Karras
from torch import Tensor, nn

from molgen.interfaces import Codec, Denoised, Noisy, Process, Request
from molgen.nn import GaussianCodec, MaskedCodec, centre
from molgen.random import Streams

SPREAD = torch.tensor([1.0, 0.5, 2.0], dtype=torch.float64)  # Å, standard deviation along x, y, z
FREQUENCIES = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
MOLECULES, ATOMS = 1500, 4
# 4 standard errors of a variance of 4500 free coordinates, plus the schedule's own error
TOLERANCE = 0.1


class ExactDenoiser(nn.Module):
    """The posterior mean of independent Gaussian coordinates around a mean, and of independent elements."""

    def __init__(self, codec: Codec) -> None:
        super().__init__()
        self.process = Process("karras", 1.4, 0.005, 80.0, {"species": codec})
        self.codec = GaussianCodec(3, codec.scale) if codec.kind == "gaussian" else MaskedCodec(3, codec.a, codec.b)
        self.elements = torch.tensor([1, 6, 8])
        self.weight = nn.Parameter(torch.zeros(1, dtype=torch.float64))
        mean = torch.tensor([[1.5, 0, 0], [-0.5, 1, 0], [-0.5, -1, 0.5], [-0.5, 0, -0.5]], dtype=torch.float64)
        self.mean = mean - mean.mean(0)

    def forward(self, noisy: Noisy) -> Denoised:
        structures = noisy.structures
        sigma = torch.repeat_interleave(noisy.sigma, structures.n_atoms)
        mean = self.mean.repeat(structures.n_structures, 1)
        keep = SPREAD**2 / (SPREAD**2 + sigma[:, None] ** 2)
        positions = centre(mean + keep * (structures.positions - mean), structures)
        logits = torch.log(FREQUENCIES) + self.codec.likelihood(noisy.species, sigma)
        return Denoised(positions, torch.softmax(logits, 1), logits)


def draw(sampler: Karras | EDM, codec: Codec, n_steps: int) -> tuple[Tensor, Tensor, nn.Module]:
    model = ExactDenoiser(codec)
    indices = torch.arange(MOLECULES)
    request = Request(torch.full((MOLECULES,), ATOMS), n_steps, 0, indices)
    with torch.inference_mode():
        *_, last = sampler.sample(model, request, Streams(0, indices))
    assert last.step == n_steps
    assert bool(last.finished.all())
    return last.structures.positions.reshape(MOLECULES, ATOMS, 3), last.structures.species, model


SAMPLERS = {
    "karras-euler": (Karras(KarrasConfig(churn=0.0, order=1, sigma_max=80.0)), 400),
    "karras-euler-churn": (Karras(KarrasConfig(churn=40.0, order=1, sigma_max=80.0)), 400),
    "karras-heun": (Karras(KarrasConfig(churn=0.0, order=2, sigma_max=80.0)), 50),
    "karras-heun-churn": (Karras(KarrasConfig(churn=20.0, order=2, sigma_max=80.0)), 200),
    "karras-rho-7": (Karras(KarrasConfig(churn=0.0, order=2, rho=7.0, sigma_max=80.0)), 60),
    "edm": (EDM(EDMConfig(sigma_max=80.0)), 400),
}
CODECS = {"gaussian": Codec("gaussian", scale=1.0), "masked": Codec("masked")}


@pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)
@pytest.mark.parametrize(("sampler", "n_steps"), SAMPLERS.values(), ids=SAMPLERS)
def test_mean_covariance_and_elements_are_those_of_the_data(sampler: Karras | EDM, n_steps: int, codec: Codec) -> None:
    positions, species, model = draw(sampler, codec, n_steps)
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


def test_one_step_is_enough_to_reach_the_end() -> None:
    for sampler in (Karras(KarrasConfig()), EDM(EDMConfig())):
        positions, species, _ = draw(sampler, CODECS["masked"], 1)
        assert torch.isfinite(positions).all()
        assert set(species.tolist()) <= {1, 6, 8}


def test_molecules_are_the_same_alone_and_in_a_batch() -> None:
    sampler, model = Karras(KarrasConfig()), ExactDenoiser(CODECS["gaussian"])
    whole = torch.arange(5)
    *_, batch = sampler.sample(model, Request(torch.full((5,), ATOMS), 20, 3, whole), Streams(3, whole))
    *_, alone = sampler.sample(model, Request(torch.full((1,), ATOMS), 20, 3, whole[4:]), Streams(3, whole[4:]))
    assert torch.allclose(batch.structures.positions[-ATOMS:], alone.structures.positions, atol=1e-10)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"coupling": "transport"}, "transport"),
        ({"perturbation": "pfgm:128"}, "pfgm:128"),
        ({"target": "consistency"}, "consistency"),
        ({"self_conditioning": True}, "previous estimate"),
    ],
)
def test_a_process_that_can_not_be_inverted_is_refused_with_the_reason(change: dict, word: str) -> None:
    given = {"parametrisation": "karras", "sigma_data": 1.4, "sigma_min": 0.01, "sigma_max": 10.0, "codecs": CODECS}
    for sampler in (Karras(KarrasConfig()), EDM(EDMConfig())):
        assert sampler.accepts(Process(**given)) is None
        reason = sampler.accepts(Process(**given | change))
        assert reason is not None
        assert word in reason
