"""Under noise, in the host's Denoiser: complete graphs with lengths from a hundredth to hundreds of Å, no envelope."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from encoders.cases import COMPLETE, Case, scattered
from torch import Tensor

from molgen.interfaces import Codec, Features, Noisy, Process, Schema
from molgen.models.assembly import encoder_builder
from molgen.models.denoiser import Denoiser
from molgen.nn import centre
from molgen.structures import Structures

SCHEMA = Schema((1, 6, 7, 8), {5: 1})
SIGMAS = (0.001, 1.0, 80.0)  # Å


def denoiser_of(case: Case) -> Denoiser:
    torch.manual_seed(0)
    process = Process("karras", 1.4, 0.001, 80.0, {"species": Codec("masked")})
    build = encoder_builder(SimpleNamespace(use=case.use, config=case.config))
    return scattered(Denoiser(build, SCHEMA, process, average_neighbors=4.5))


def noisy(sigma: float, dtype: torch.dtype = torch.float32) -> Noisy:
    """Two molecules of 6 and 5 atoms, two of whose atoms are 0.01 Å apart before the noise."""
    generator = torch.Generator().manual_seed(3)
    x, noise = (torch.randn(11, 3, dtype=torch.float64, generator=generator) for _ in range(2))
    x = 1.4 * x
    x[1] = x[0] + torch.tensor([0.006, 0.0, 0.008])
    structures = Structures.build((x + sigma * noise).to(dtype), [1] * 11, n_atoms=[6, 5])
    structures = structures.replace(positions=centre(structures.positions, structures))
    return Noisy(structures, torch.arange(11) % (len(SCHEMA.elements) + 1), torch.full((2,), sigma, dtype=dtype))


def slopes(model: Denoiser, given: Noisy) -> tuple[dict[str, Tensor], Tensor, Tensor]:
    """Of a sum of what the encoder gives the Denoiser: by each weight, by the positions of the scalars, of the vector.

    The read-outs of the encoder and not of the Denoiser, whose skip has slopes of its own.
    """
    read: list[Features] = []
    hook = model.encoder.register_forward_hook(lambda _, __, out: read.append(out))
    x = given.structures.positions.requires_grad_()
    denoised = model(given)
    hook.remove()
    nodes = read[0].nodes
    assert torch.isfinite(nodes).all()
    assert torch.isfinite(denoised.positions).all()
    assert torch.isfinite(denoised.logits).all()
    moved, scalars = nodes[:, model.displacement], nodes[:, model.scalars]
    by_x = [torch.autograd.grad(part.sin().sum(), x, retain_graph=True)[0] for part in (scalars, moved)]
    loss = moved.square().sum() + denoised.logits.square().sum()
    loss.backward()
    by_weight = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return by_weight, by_x[0], by_x[1]


@pytest.mark.parametrize("case", COMPLETE, ids=str)
def test_all_is_finite_and_every_weight_has_a_say_at_every_noise_level(case: Case) -> None:
    used, _, _ = slopes(denoiser_of(case).double(), noisy(1.0, torch.float64))
    used = {name for name, slope in used.items() if slope.any()}
    assert {name for name in used if name.startswith("encoder.")}
    for sigma in SIGMAS:
        model = denoiser_of(case)
        by_weight, of_scalars, of_vector = slopes(model, noisy(sigma))
        for name, slope in by_weight.items():
            assert torch.isfinite(slope).all(), (sigma, name)
            assert name not in used or slope.any(), (sigma, name)
        assert used <= set(by_weight)
        for slope in (of_scalars, of_vector):
            assert torch.isfinite(slope).all(), sigma
            assert (slope.abs().max(1).values > 0).all(), sigma


@pytest.mark.parametrize("case", COMPLETE, ids=str)
def test_few_weights_have_nothing_to_do_in_a_generator(case: Case) -> None:
    model = denoiser_of(case).double()
    used, _, _ = slopes(model, noisy(1.0, torch.float64))
    idle = sum(p.numel() for n, p in model.named_parameters() if n not in used or not used[n].any())
    assert idle <= 0.1 * sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("case", COMPLETE, ids=str)
def test_the_molecule_behind_the_noise_moves_smoothly_with_a_pair_that_comes_close(case: Case) -> None:
    model, given = denoiser_of(case).double(), noisy(1.0, torch.float64)
    x = given.structures.positions
    along = torch.zeros_like(x)
    along[1] = torch.tensor([0.6, 0.0, 0.8])
    gaps = torch.logspace(-9, -3, 7, dtype=torch.float64)

    def positions(gap: Tensor) -> Tensor:
        near = x.index_copy(0, torch.tensor([1]), x[:1]) + gap * along
        with torch.no_grad():
            return model(Noisy(given.structures.replace(positions=near), given.species, given.sigma)).positions

    together = positions(torch.zeros((), dtype=torch.float64))
    moves = torch.stack([(positions(gap) - together).abs().max() for gap in gaps])
    # no jump at zero: what changes is no more than a multiple of the gap
    assert (moves <= 1e-6 + 1e3 * gaps).all()


@pytest.mark.parametrize("sigma", SIGMAS)
@pytest.mark.parametrize("case", COMPLETE, ids=str)
def test_float32_agrees_with_float64_at_every_noise_level(case: Case, sigma: float) -> None:
    single, double = denoiser_of(case), denoiser_of(case).double()
    with torch.no_grad():
        found, expected = single(noisy(sigma)), double(noisy(sigma, torch.float64))
    assert (found.logits - expected.logits)[:, 0].abs().max() <= 1e-3 * expected.logits.abs().clamp(max=10).max()
    assert (found.positions - expected.positions).abs().max() <= 1e-4 * expected.positions.abs().max()


@pytest.mark.parametrize("case", COMPLETE, ids=str)
def test_matrix_products_in_bfloat16_leave_the_molecule_about_where_it_is(case: Case) -> None:
    plain, given = denoiser_of(case), noisy(1.0)
    with torch.no_grad():
        expected = plain(given).positions
    with torch.autocast("cpu", torch.bfloat16):
        found = plain(given)
    assert found.positions.dtype == torch.float32
    assert torch.isfinite(found.logits).all()
    # two digits of what the network adds to the noisy molecule
    assert (found.positions - expected).abs().max() <= 0.05 * expected.abs().max()
    (found.positions.square().sum() + found.logits.float().square().sum()).backward()
    assert all(torch.isfinite(p.grad).all() for p in plain.parameters() if p.grad is not None)
