"""What both encoders hold to: symmetries of a set, locality, smooth cut-offs, bad places, precision, training."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import molgen
from molgen.interfaces import Codec, Encoder, Noisy, Process, Schema
from molgen.models.denoiser import Denoiser
from molgen.neighbors import Graph, complete_graph, radius_graph
from molgen.structures import Structures

EXACT = 1e-12
BOTH = pytest.mark.parametrize("use", ["escn", "scn"])
CUTOFFS = pytest.mark.parametrize("cutoff", [None, 3.0])


def energy(features: Tensor) -> Tensor:
    """A function of every component."""
    weights = torch.linspace(-1, 1, features.shape[1], dtype=features.dtype)
    return (features.sin() * weights).sum()


@BOTH
def test_it_returns_every_degree_in_component_order(use: str, make: Callable, evaluate: Callable, points: Callable):
    encoder = make(use, l_max=3, m_max=1)
    assert str(encoder.irreps_out) == "6x0e+6x1o+6x2e+6x3o"
    assert encoder.edge_channels == 0
    assert evaluate(encoder, points(4)).shape == (4, encoder.irreps_out.dim)


@BOTH
@CUTOFFS
def test_atoms_in_another_order_give_the_same_features_in_that_order(
    use: str, cutoff: float | None, make: Callable, evaluate: Callable, points: Callable, scalars: Callable
) -> None:
    encoder, x, order = make(use, cutoff=cutoff), points(6), torch.tensor([3, 0, 5, 1, 4, 2])
    before, after = evaluate(encoder, x), evaluate(encoder, x[order], scalars(6)[order])
    assert (after - before[order]).abs().max() < EXACT


@BOTH
@CUTOFFS
def test_structures_of_a_batch_do_not_see_each_other(
    use: str, cutoff: float | None, make: Callable, evaluate: Callable, points: Callable, scalars: Callable
) -> None:
    encoder, x = make(use, cutoff=cutoff), points(9)
    both = evaluate(encoder, x, n_atoms=[4, 5])
    assert (both[4:] - evaluate(encoder, x[4:], scalars(9)[4:])).abs().max() < EXACT


@BOTH
def test_dense_and_ragged_batches_are_the_same_function(use: str, make: Callable, evaluate: Callable, points: Callable):
    encoder, x = make(use), points(11)
    dense = evaluate(encoder, x[:8], given_scalars(11)[:8], n_atoms=[4, 4])
    ragged = evaluate(encoder, x, given_scalars(11), n_atoms=[4, 4, 3])
    assert (dense - ragged[:8]).abs().max() < EXACT


def given_scalars(n: int) -> Tensor:
    return torch.randn(n, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(5))


@BOTH
@CUTOFFS
def test_derivatives_are_right_to_second_order(
    use: str, cutoff: float | None, make: Callable, graph_of: Callable, points: Callable
) -> None:
    encoder = make(use, cutoff=cutoff, channels=3, hidden_channels=4)
    structures = Structures.build(points(4), [6] * 4)
    graph = graph_of(encoder, structures)

    def of_positions(x: Tensor) -> Tensor:
        moved = graph.with_positions(structures.replace(positions=x))
        return energy(encoder(moved, given_scalars(4)).nodes)

    x = structures.positions.clone().requires_grad_()
    assert torch.autograd.gradcheck(of_positions, x)
    assert torch.autograd.gradgradcheck(of_positions, x)


@BOTH
def test_weights_have_the_derivatives_of_forces(use: str, make: Callable, graph_of: Callable, points: Callable) -> None:
    encoder = make(use, cutoff=3.0, channels=2, hidden_channels=2, l_max=1)
    structures = Structures.build(points(3), [6] * 3)
    graph = graph_of(encoder, structures)
    names = [name for name, _ in encoder.named_parameters()]

    def force(*weights: Tensor) -> Tensor:
        x = structures.positions.clone().requires_grad_()
        moved = graph.with_positions(structures.replace(positions=x))
        features = torch.func.functional_call(
            encoder, dict(zip(names, weights, strict=True)), (moved, given_scalars(3))
        )
        return torch.autograd.grad(energy(features.nodes), x, create_graph=True)[0]

    weights = [parameter.detach().clone().requires_grad_() for parameter in encoder.parameters()]
    assert torch.autograd.gradcheck(force, weights, fast_mode=True)


@BOTH
def test_energy_force_and_its_derivative_are_continuous_across_the_cutoff(
    use: str, make: Callable, evaluate: Callable
) -> None:
    encoder = make(use, cutoff=3.0)

    def derivatives(value: float) -> list[float]:
        r = torch.tensor(value, dtype=torch.float64, requires_grad=True)
        zero = torch.zeros_like(r)
        rest = torch.tensor([[0.0, 0.0, 0.0], [0.2, 1.1, 0.0]], dtype=torch.float64)
        e = energy(evaluate(encoder, torch.cat((rest, torch.stack((r, zero, zero))[None]))))
        (f,) = torch.autograd.grad(e, r, create_graph=True)
        (s,) = torch.autograd.grad(f, r)
        return [float(each.detach()) for each in (e, f, s)]

    step = 1e-6
    inside, outside = derivatives(3.0 - step), derivatives(3.0 + step)
    assert inside == pytest.approx(outside, abs=1e-3)  # the second changes by the third times the step
    assert inside[0] == pytest.approx(outside[0], abs=1e-4)


@BOTH
def test_two_far_copies_have_twice_the_energy(use: str, make: Callable, evaluate: Callable, points: Callable) -> None:
    encoder, x, given = make(use, cutoff=3.0), points(5), given_scalars(5)
    one = energy(evaluate(encoder, x, given))
    two = energy(evaluate(encoder, torch.cat((x, x + 50.0)), given.repeat(2, 1)))
    assert float(two.detach()) == pytest.approx(2 * float(one.detach()), rel=1e-11)


@BOTH
def test_what_lies_beyond_all_layers_is_not_felt(use: str, make: Callable, evaluate: Callable) -> None:
    encoder = make(use, cutoff=1.5)
    chain = torch.arange(6, dtype=torch.float64)[:, None] * torch.tensor([[1.0, 0.2, 0.1]])
    moved = chain.clone()
    moved[5] += torch.tensor([0.3, -0.2, 0.1])
    before, after = evaluate(encoder, chain), evaluate(encoder, moved)
    assert torch.equal(before[:3], after[:3])
    assert not torch.equal(before[3], after[3])


@BOTH
def test_a_doubled_cell_is_the_same_crystal(use: str, make: Callable, evaluate: Callable, points: Callable) -> None:
    encoder = make(use, cutoff=3.0)
    x = points(3)
    cell = torch.tensor([[2.6, 0.0, 0.0], [0.4, 3.1, 0.0], [0.0, 0.3, 3.4]], dtype=torch.float64)
    given = given_scalars(3)
    one = evaluate(encoder, x, given, cell=cell[None], pbc=[[True] * 3])
    doubled = torch.cat((cell[:1] * 2, cell[1:]))
    two = evaluate(encoder, torch.cat((x, x + cell[0])), given.repeat(2, 1), cell=doubled[None], pbc=[[True] * 3])
    assert (two - one.repeat(2, 1)).abs().max() < 1e-10


@BOTH
@CUTOFFS
@pytest.mark.parametrize("counts", [[1], [1, 1], [2, 1], [0], []])
def test_atoms_alone_and_empty_batches_are_fine(
    use: str, cutoff: float | None, counts: list[int], make: Callable, evaluate: Callable
) -> None:
    encoder, n = make(use, cutoff=cutoff), sum(counts)
    x = torch.arange(3.0 * n, dtype=torch.float64).reshape(n, 3).requires_grad_()
    features = evaluate(encoder, x, n_atoms=counts)
    assert features.shape == (n, encoder.irreps_out.dim)
    assert torch.isfinite(features).all()
    (gradient,) = torch.autograd.grad(energy(features), x, allow_unused=True, materialize_grads=True)
    assert torch.isfinite(gradient).all()


@BOTH
@CUTOFFS
def test_atoms_at_one_place_are_finite_and_weights_still_learn(
    use: str, cutoff: float | None, make: Callable, evaluate: Callable
) -> None:
    encoder = make(use, cutoff=cutoff)
    x = torch.zeros(3, 3, dtype=torch.float64, requires_grad=True)
    features = evaluate(encoder, x, n_atoms=[3])
    loss = energy(features)
    gradients = torch.autograd.grad(loss, [x, *encoder.parameters()], allow_unused=True, materialize_grads=True)
    assert all(torch.isfinite(each).all() for each in (features, *gradients))
    assert sum(float(each.abs().sum()) for each in gradients[1:]) > 0


@BOTH
@pytest.mark.parametrize("size", [0.01, 100.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_lengths_of_any_size_are_finite_without_a_cutoff(
    use: str, size: float, dtype: torch.dtype, make: Callable, evaluate: Callable, points: Callable
) -> None:
    encoder = make(use).to(dtype)
    x = (size * points(4)).to(dtype).requires_grad_()
    features = evaluate(encoder, x)
    (gradient,) = torch.autograd.grad(energy(features), x)
    assert features.dtype == dtype
    assert torch.isfinite(features).all()
    assert torch.isfinite(gradient).all()
    assert gradient.abs().max() > 0


@BOTH
@pytest.mark.parametrize("sigma", [0.001, 1.0, 80.0])
@pytest.mark.parametrize("counts", [(4, 4), (4, 2, 1)])
def test_a_denoiser_is_finite_and_learns_at_every_noise_level(use: str, sigma: float, counts: tuple[int, ...]) -> None:
    torch.manual_seed(0)

    def encoder(**given: object) -> Encoder:
        return molgen.build("encoder", use, config={"channels": 8, "hidden_channels": 8, "layers": 2}, **given)

    schema = Schema(elements=(1, 6, 8), size_counts={4: 1})
    process = Process("karras", 1.4, 0.001, 80.0, {"species": Codec("masked")})
    model = Denoiser(encoder, schema, process, average_neighbors=3.0)
    n, level = sum(counts), torch.full((len(counts),), sigma)
    x = torch.randn(n, 3) + sigma * torch.randn(n, 3)
    structures = Structures.build(x, [6] * n, n_atoms=counts)
    denoised = model(Noisy(structures, torch.randint(0, 4, (n,)), level))
    loss = denoised.positions.square().sum() / sigma**2 + denoised.logits.square().sum()
    loss.backward()
    assert torch.isfinite(denoised.positions).all()
    for name, parameter in model.encoder.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().max() > 0, name


@BOTH
def test_autocast_rounds_no_geometry(use: str, make: Callable, graph_of: Callable, points: Callable) -> None:
    encoder = make(use, cutoff=3.0).float()
    structures = Structures.build(points(6).float(), [6] * 6)
    graph, given = graph_of(encoder, structures), given_scalars(6).float()
    exact = encoder(graph, given).nodes
    seen = []
    handle = encoder.rotations.register_forward_hook(lambda module, inputs, output: seen.append(output))
    x = structures.positions.clone().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        features = encoder(graph.with_positions(structures.replace(positions=x)), given).nodes
        (gradient,) = torch.autograd.grad(energy(features), x)
    encoder(graph, given)
    handle.remove()
    assert features.dtype == torch.float32
    assert torch.equal(seen[0], seen[1])
    assert torch.isfinite(gradient).all()
    assert (features - exact).norm() < 0.05 * exact.norm()


@BOTH
def test_a_result_has_the_same_bits_in_every_run(
    use: str, make: Callable, evaluate: Callable, points: Callable
) -> None:
    encoder = make(use, cutoff=3.0).float()

    def run() -> tuple[Tensor, Tensor]:
        x = points(12).float().requires_grad_()
        features = evaluate(encoder, x)
        return features, torch.autograd.grad(energy(features), x)[0]

    for first, second in zip(run(), run(), strict=True):
        assert torch.equal(first, second)


@BOTH
def test_a_few_steps_on_energies_and_forces_reduce_their_error(
    use: str, make: Callable, graph_of: Callable, points: Callable
) -> None:
    encoder = make(use, cutoff=4.0)
    read = nn.Linear(6, 1).double()
    structures = Structures.build(torch.cat([points(4, seed) for seed in range(4)]), [6] * 16, n_atoms=[4] * 4)
    graph = graph_of(encoder, structures)
    targets = spring_energy_and_forces(graph, structures)
    optimizer = torch.optim.Adam([*encoder.parameters(), *read.parameters()], lr=3e-3)
    losses = []
    for _ in range(30):
        x = structures.positions.clone().requires_grad_()
        moved = graph.with_positions(structures.replace(positions=x))
        e = read(encoder(moved, torch.ones(16, 3, dtype=torch.float64)).nodes[:, :6]).view(4, 4).sum(1)
        (f,) = torch.autograd.grad(-e.sum(), x, create_graph=True)
        loss = (e - targets[0]).square().mean() + (f - targets[1]).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.5 * losses[0]


def spring_energy_and_forces(graph: Graph, structures: Structures) -> tuple[Tensor, Tensor]:
    x = structures.positions.clone().requires_grad_()
    lengths = graph.with_positions(structures.replace(positions=x)).lengths
    pairs = (lengths - 1.5).square() * (1 - lengths / 4.0).square()
    e = torch.zeros(4, dtype=torch.float64).index_add(0, graph.batch[graph.receivers], pairs)
    (gradient,) = torch.autograd.grad(e.sum(), x)
    return e.detach(), -gradient


@BOTH
def test_features_are_exchanged_before_every_layer_but_the_first(use: str, make: Callable, points: Callable) -> None:
    class Counted(Graph):
        def exchange(self, features: Tensor) -> Tensor:
            calls.append(features.shape)
            return features

    calls: list[torch.Size] = []
    graph = radius_graph(Structures.build(points(4), [6] * 4), 3.0)
    counted = Counted(**{name: getattr(graph, name) for name in Graph.__dataclass_fields__})
    make(use, cutoff=3.0, layers=3)(counted, given_scalars(4))
    assert calls == [(4, 9, 6)] * 2


@BOTH
def test_edge_scalars_reach_the_messages(use: str, make: Callable, points: Callable) -> None:
    encoder = make(use, edge_inputs=2)
    graph = complete_graph(Structures.build(points(4), [6] * 4))
    edges = torch.zeros(12, 2, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(energy(encoder(graph, given_scalars(4), edges).nodes), edges)
    assert (gradient.abs().sum(1) > 0).all()
