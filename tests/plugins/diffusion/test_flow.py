"""`flow` walks the straight path: its steps are those in t, its errors fall as their order says, and it can train."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch
from gaussian_data import ATOMS, CODECS, SPREAD, ExactDenoiser, draw
from molgen_diffusion.config import FlowConfig, KarrasConfig
from molgen_diffusion.flow import Flow
from molgen_diffusion.karras import Karras
from molgen_diffusion.schedules import flow_time
from torch import Tensor

from molgen.interfaces import Noisy, Request, Sampler, Schema
from molgen.models.assembly import assemble_generator
from molgen.nn import centre
from molgen.random import Streams
from molgen.structures import Structures

LOW, HIGH = 1e-4, 20.0  # Å; the last step, of first order whatever the sampler, is too short to be seen


def prior(molecules: int) -> Tensor:
    """[molecules, ATOMS, 3] x̃ that every sampler starts from."""
    indices = torch.arange(molecules)
    request = Request(torch.full((molecules,), ATOMS), 1, 0, indices)
    model = ExactDenoiser(CODECS["gaussian"], LOW, HIGH)
    first = next(iter(Flow(FlowConfig(sigma_min=LOW, sigma_max=HIGH)).sample(model, request, Streams(0, indices))))
    return first.structures.positions.reshape(molecules, ATOMS, 3)


def exact(start: Tensor) -> Tensor:
    """Where the flow of Gaussian data ends: each coordinate keeps its place in the distribution."""
    mean = ExactDenoiser(CODECS["gaussian"]).mean
    return mean + (start - mean) * SPREAD / torch.sqrt(SPREAD**2 + HIGH**2)


def error(sampler: Sampler, n_steps: int) -> float:
    drawn, _ = draw(sampler, ExactDenoiser(CODECS["gaussian"], LOW, HIGH), 20, n_steps)
    return float((drawn - exact(prior(20))).square().mean().sqrt())


SAMPLERS = {
    "flow-uniform": lambda order: Flow(FlowConfig(order=order, sigma_min=LOW, sigma_max=HIGH)),
    "flow-rho": lambda order: Flow(
        FlowConfig(order=order, sigma_min=LOW, sigma_max=HIGH, schedule={"kind": "rho"}),
    ),
    "flow-beta": lambda order: Flow(
        FlowConfig(order=order, sigma_min=LOW, sigma_max=HIGH, schedule={"kind": "beta"}),
    ),
    "karras-rho": lambda order: Karras(KarrasConfig(order=order, churn=0.0, sigma_min=LOW, sigma_max=HIGH)),
    "karras-cosine": lambda order: Karras(
        KarrasConfig(order=order, churn=0.0, sigma_min=LOW, sigma_max=HIGH, schedule={"kind": "cosine"})
    ),
    "karras-arcsin": lambda order: Karras(
        KarrasConfig(order=order, churn=0.0, sigma_min=LOW, sigma_max=HIGH, schedule={"kind": "arcsin", "mix": 1.0})
    ),
}


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("make", SAMPLERS.values(), ids=SAMPLERS)
def test_twice_the_steps_divide_the_error_by_two_to_the_order(make, order: int) -> None:
    coarse, fine = error(make(order), 200), error(make(order), 400)
    assert math.log2(coarse / fine) == pytest.approx(order, abs=0.25)


@pytest.mark.parametrize("order", [1, 2])
def test_a_step_is_that_of_the_path_itself(order: int) -> None:
    """The slow way: x_t in its own coordinates, with velocities."""
    n_steps, molecules = 7, 3
    model = ExactDenoiser(CODECS["gaussian"], 0.01, 15.0)
    indices = torch.arange(molecules)
    request = Request(torch.full((molecules,), ATOMS), n_steps, 0, indices)
    states = list(Flow(FlowConfig(order=order)).sample(model, request, Streams(0, indices)))
    times = [flow_time(float(state.noise_level[0])) for state in states]
    assert torch.tensor(times).diff().std() < 1e-6  # equal steps

    def velocity(x: Tensor, t: float, species: Tensor) -> Tensor:
        levels = torch.full((molecules,), (1 - t) / t, dtype=torch.float64)
        believed = model(Noisy(states[0].structures.replace(positions=x / t), species, levels)).positions
        return (believed - x) / (1 - t)

    species = torch.zeros(molecules * ATOMS, 3, dtype=torch.float64)  # positions are independent of it here
    x = states[0].structures.positions * times[0]
    for state, t, after in zip(states[1:], times, times[1:], strict=False):
        slope = velocity(x, t, species)
        if order == 2 and after < 1:
            slope = (slope + velocity(x + (after - t) * slope, after, species)) / 2
        x = x + (after - t) * slope
        assert torch.allclose(x, state.structures.positions * after, atol=1e-10)


def test_euler_without_churn_is_that_of_karras_on_the_same_levels() -> None:
    model = ExactDenoiser(CODECS["masked"])
    flow = draw(Flow(FlowConfig(schedule={"kind": "cosine"})), model, 8, 12)
    karras = draw(Karras(KarrasConfig(churn=0.0, schedule={"kind": "cosine"})), model, 8, 12)
    assert torch.allclose(flow[0], karras[0], atol=1e-12)
    assert torch.equal(flow[1], karras[1])


@pytest.mark.parametrize(
    ("times", "median", "tenth"), [("uniform", 0.900, 0.114), ("logit-normal", 1.0, math.exp(-1.2816))]
)
def test_training_draws_its_own_noise_levels(times: str, median: float, tenth: float) -> None:
    """Quantiles of σ: of t uniform on [1/16, 1/1.01], and of ln σ with mean 0 and deviation 1."""
    seen: list[Tensor] = []

    class Watched(ExactDenoiser):
        def forward(self, noisy: Noisy):
            seen.append(noisy.sigma)
            return super().forward(noisy)

        def encode_species(self, species: Tensor) -> Tensor:
            return torch.zeros_like(species)

        def coefficients(self, sigma: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            return torch.ones_like(sigma), sigma, torch.ones_like(sigma)

    n = 20_000
    blank = torch.zeros(n * ATOMS, 3, dtype=torch.float64)
    batch = Structures.build(blank, torch.ones(n * ATOMS, dtype=torch.int64), n_atoms=torch.full((n,), ATOMS))
    losses = Flow(FlowConfig(times=times)).objective(Watched(CODECS["masked"]), batch, Streams(0, torch.arange(n)))
    (sigma,) = seen
    assert float(sigma.min()) >= 0.01
    assert float(sigma.max()) <= 15.0
    # more than three standard errors of quantiles of twenty thousand
    assert float(sigma.log().median()) == pytest.approx(math.log(median), abs=0.05)
    assert float(sigma.log().quantile(0.1)) == pytest.approx(math.log(tenth), abs=0.08)
    assert losses["loss"].shape == (n,)
    assert torch.isfinite(losses["loss"]).all()


@pytest.mark.parametrize("codec", ["masked", "gaussian"])
def test_a_network_learns_with_it_and_other_samplers_draw_from_what_it_learned(codec: str) -> None:
    pytest.importorskip("molgen_egnn", reason="the plugin molgen-egnn is not installed")
    torch.manual_seed(0)
    schema, statistics = Schema(elements=(1, 6, 8), size_counts={3: 1}), {"sigma_data": 0.6, "average_neighbors": 2.0}

    made = assemble_generator(
        SimpleNamespace(use="egnn", config={"channels": 16, "layers": 2}),
        SimpleNamespace(use="flow", config={"codec": {"kind": codec}}),
        schema,
        statistics,
    )
    sampler, module = made.sampler, made.module
    water = [[0.0, 0.0, 0.0], [0.96, 0.0, 0.0], [-0.24, 0.93, 0.0]]
    n = 64
    batch = Structures.build(water * n, torch.tensor([8, 1, 1] * n), n_atoms=torch.full((n,), 3)).to(torch.float32)

    def loss(seed: int) -> Tensor:
        return sampler.objective(module, batch, Streams(seed, torch.arange(n)))["loss"].mean()

    before = float(loss(99).detach())
    optimizer = torch.optim.Adam(module.parameters(), lr=5e-3)
    for step in range(60):
        optimizer.zero_grad()
        loss(step).backward()
        optimizer.step()
    assert float(loss(99).detach()) < 0.8 * before
    for other in (sampler, Karras(KarrasConfig())):
        assert other.accepts(module.process) is None
        request = Request(torch.full((2,), 3), 4, 0, torch.arange(2))
        with torch.no_grad():
            *_, last = other.sample(module.eval(), request, Streams(0, torch.arange(2)))
        assert torch.isfinite(last.structures.positions).all()
        assert torch.allclose(last.structures.positions, centre(last.structures.positions, last.structures), atol=1e-5)


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("trained", ["edm", "karras"])
def test_it_draws_from_what_other_samplers_trained_within_the_noise_that_they_learned(trained: str, order: int) -> None:
    pytest.importorskip("molgen_egnn", reason="the plugin molgen-egnn is not installed")
    torch.manual_seed(0)
    made = assemble_generator(
        SimpleNamespace(use="egnn", config={"channels": 8, "layers": 1}),
        SimpleNamespace(use=trained, config={"sigma_min": 0.1, "sigma_max": 4.0}),
        Schema(elements=(1, 6, 8), size_counts={5: 1}),
        {"sigma_data": 1.4, "average_neighbors": 4.0},
    )
    sampler, process = Flow(FlowConfig(order=order)), made.module.process
    assert sampler.accepts(process) is None
    request = Request(torch.full((2,), 5), 20, 0, torch.arange(2))
    with torch.no_grad():
        states = list(sampler.sample(made.module.eval(), request, Streams(0, torch.arange(2))))
    levels = [float(state.noise_level[0]) for state in states]
    assert levels[0] == pytest.approx(4.0)
    assert levels[-2] == pytest.approx(0.1)
    assert levels[-1] == 0.0
    assert torch.isfinite(states[-1].structures.positions).all()
