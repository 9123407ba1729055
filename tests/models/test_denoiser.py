"""The Denoiser: preconditioning, symmetry, and numbers that stay finite from σ = 0.001 to 80 Å."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import molgen
from molgen.errors import ConfigError
from molgen.interfaces import Codec, Encoder, Noisy, Process, Schema
from molgen.models.denoiser import Denoiser
from molgen.nn import centre
from molgen.structures import Structures

SCHEMA = Schema((1, 6, 7, 8), {5: 1})
CODECS = {"masked": Codec("masked"), "gaussian": Codec("gaussian", scale=1.0)}


def encoder(**given: object) -> Encoder:
    return molgen.build("encoder", "egnn", config={"channels": 16, "layers": 2}, **given)


def make(codec: str = "masked", parametrisation: str = "karras", spread: float | None = 0.2) -> Denoiser:
    torch.manual_seed(0)
    process = Process(parametrisation, 1.4, 0.001, 80.0, {"species": CODECS[codec]})
    model = Denoiser(encoder, SCHEMA, process, average_neighbors=4.0).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_() if spread is None else parameter.normal_(std=spread)
    return model


def noisy(model: Denoiser, sigma: float, counts: tuple[int, ...] = (5, 5), turn: Tensor | None = None) -> Noisy:
    n, generator = sum(counts), torch.Generator().manual_seed(3)
    x = (1.4 + sigma) * torch.randn(n, 3, dtype=torch.float64, generator=generator)
    structures = Structures.build(x if turn is None else x @ turn.T, [1] * n, n_atoms=counts)
    structures = structures.replace(positions=centre(structures.positions, structures))
    v = len(SCHEMA.elements)
    if model.process.codecs["species"].kind == "masked":
        state = torch.arange(n) % (v + 1)
    else:
        state = sigma * torch.randn(n, v, dtype=torch.float64, generator=generator)
    return Noisy(structures, state, torch.full((len(counts),), sigma, dtype=torch.float64))


@pytest.mark.parametrize("sigma", [0.001, 0.3, 80.0])
def test_a_network_that_reads_out_zero_gives_the_skip_alone(sigma: float) -> None:
    model = make(spread=None)
    given = noisy(model, sigma)
    expected = 1.4**2 / (1.4**2 + sigma**2) * given.structures.positions
    assert torch.allclose(model(given).positions, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("parametrisation", ["karras", "edm"])
@pytest.mark.parametrize("sigma", [0.001, 1.0, 80.0])
def test_outputs_are_finite_and_gradients_reach_every_weight_at_every_noise_level(
    sigma: float, parametrisation: str
) -> None:
    model = make("gaussian", parametrisation)
    given = noisy(model, sigma)
    denoised = model(given)
    _, c_out, _ = model.coefficients(given.sigma)
    loss = (denoised.positions / c_out[0]).square().mean() + denoised.logits.square().mean()
    loss.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
    moved = [p.grad.abs().max() for n, p in model.named_parameters() if "layers" in n and n.endswith("weight")]
    assert all(g > 0 for g in moved)


@pytest.mark.parametrize("codec", CODECS)
def test_the_clean_molecule_turns_with_the_noisy_one(codec: str) -> None:
    model = make(codec)
    q, _ = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1)))
    straight, turned = model(noisy(model, 0.7)), model(noisy(model, 0.7, turn=-q))
    assert torch.allclose(turned.positions, straight.positions @ -q.T, atol=1e-10)
    assert torch.allclose(turned.species, straight.species, atol=1e-10)


def test_molecules_of_a_batch_do_not_see_each_other() -> None:
    model = make()
    both = noisy(model, 0.7, counts=(4, 6))
    second = Noisy(both.structures.select([1]), both.species[4:], both.sigma[1:])
    assert torch.allclose(model(both).positions[4:], model(second).positions, atol=1e-12)


def test_what_a_masked_codec_shows_is_certain() -> None:
    model = make("masked")
    given = noisy(model, 0.7)
    shown = given.species < len(SCHEMA.elements)
    believed = model(given).species
    assert torch.equal(believed[shown].argmax(1), given.species[shown])
    assert (believed[shown].max(1).values > 1 - 1e-9).all()
    assert (believed[~shown].max(1).values < 1).all()


def test_an_encoder_with_a_cutoff_is_refused() -> None:
    def short(**given: object) -> Encoder:
        return molgen.build("encoder", "egnn", config={"cutoff": 5.0}, **given)

    process = Process("karras", 1.4, 0.01, 10.0, {"species": CODECS["masked"]})
    with pytest.raises(ConfigError, match="cutoff"):
        Denoiser(short, SCHEMA, process, average_neighbors=4.0)
