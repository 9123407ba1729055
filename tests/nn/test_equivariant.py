"""Linear maps, gates and norms of spherical channels: those of e3nn, exactly equivariant, smooth at zero."""

from __future__ import annotations

import pytest
import torch
from e3nn import o3
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from molgen.errors import ConfigError
from molgen.nn import EquivariantLinear, EquivariantNorm, Gate, from_mul_ir, spherical_irreps, to_mul_ir

EXACT = 1e-12  # relative, float64: rounding of sums of some ten terms
CHANNELS = 5
# harmonics, pseudo ones beside them, degrees out of order, scalars that stand last
IRREPS = ["0e", "0e + 1o + 2e + 3o", "0e + 1o + 0o + 1e", "2e + 1o + 0o + 0e", "1e + 0e + 2o"]
SEEDS = st.integers(0, 2**31)


pytestmark = pytest.mark.usefixtures("double")


def scattered(module: nn.Module) -> nn.Module:
    """With weights that are neither zero nor one."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return module


def layers(irreps: str) -> list[nn.Module]:
    made = [EquivariantLinear(irreps, CHANNELS, 7), Gate(irreps, CHANNELS), EquivariantNorm(irreps, CHANNELS)]
    return [scattered(each) for each in made]


def orthogonal(seed: int, inverted: bool) -> Tensor:
    q = torch.randn(4, generator=torch.Generator().manual_seed(seed))
    return o3.quaternion_to_matrix(q / q.norm()) * (-1.0 if inverted else 1.0)


@settings(max_examples=10)
@given(seed=SEEDS, inverted=st.booleans(), irreps=st.sampled_from(IRREPS))
def test_every_layer_turns_its_output_with_its_input(seed: int, inverted: bool, irreps: str) -> None:
    D = o3.Irreps(irreps).D_from_matrix(orthogonal(seed, inverted))  # [K, K]
    x = torch.randn(3, 2, len(D), CHANNELS, generator=torch.Generator().manual_seed(seed))
    for layer in layers(irreps):
        turned, expected = layer(D @ x), D @ layer(x)
        assert (turned - expected).abs().max() <= 10 * EXACT * expected.abs().max(), layer


@pytest.mark.parametrize("irreps", IRREPS)
def test_a_linear_map_is_that_of_e3nn_with_the_same_weights(irreps: str) -> None:
    ours = scattered(EquivariantLinear(irreps, CHANNELS, 7))
    few, many = ([(c, ir) for _, ir in o3.Irreps(irreps)] for c in (CHANNELS, 7))
    theirs = o3.Linear(o3.Irreps(few), o3.Irreps(many), biases=[ir == o3.Irrep("0e") for _, ir in o3.Irreps(irreps)])
    with torch.no_grad():
        theirs.weight.copy_(ours.weight.flatten() * CHANNELS**0.5)  # e3nn divides by the square root of the inputs
        theirs.bias.copy_(ours.bias)
    x = torch.randn(6, o3.Irreps(irreps).dim, CHANNELS)
    expected = theirs(to_mul_ir(x, o3.Irreps(irreps)))
    assert torch.allclose(to_mul_ir(ours(x), o3.Irreps(irreps)), expected, rtol=EXACT, atol=EXACT)


def test_a_fresh_linear_map_keeps_the_variance() -> None:
    layer = EquivariantLinear("0e + 1o + 2e", 64, 96)
    mean = layer(torch.randn(200, 9, 64)).square().mean((0, 2))
    assert (mean - 1).abs().max() < 0.2


def test_only_true_scalars_have_a_bias() -> None:
    layer = EquivariantLinear("1o + 0e + 0o", 3, 4)
    with torch.no_grad():
        layer.bias.copy_(torch.arange(1.0, 5.0))
    shift = layer(torch.zeros(1, 5, 3))[0]
    assert torch.equal(shift[3], layer.bias)
    assert not shift[[0, 1, 2, 4]].any()
    assert EquivariantLinear("1o + 0o", 3, 4).bias is None
    assert EquivariantLinear("0e", 3, 4, bias=False).bias is None


def test_a_gate_is_silu_of_scalars_and_only_scales_all_else() -> None:
    gate, x = scattered(Gate("0e + 1o", 4)), torch.randn(10, 4, 4)
    out = gate(x)
    assert torch.allclose(out[:, 0], nn.functional.silu(x[:, 0]), rtol=EXACT, atol=EXACT)
    factors = out[:, 1:] / x[:, 1:]
    assert (factors - factors[:, :1]).abs().max() < 1e-10
    assert bool(((factors > 0) & (factors < 1)).all())


def test_a_norm_gives_every_irrep_the_same_say_whatever_its_degree() -> None:
    norm = EquivariantNorm("0e + 3o", 4)
    scalar, octopole = torch.zeros(1, 8, 4), torch.zeros(1, 8, 4)
    scalar[:, 0], octopole[:, 1:] = 3.0, 3.0
    assert torch.allclose(norm(scalar)[0, 0], norm(octopole)[0, 1], rtol=EXACT)
    large = 1e3 * torch.randn(50, 8, 4)
    mean = norm(large).square().mean(2)  # [N, K]
    assert torch.allclose((mean[:, 0] + mean[:, 1:].mean(1)) / 2, torch.ones(50), atol=1e-6)


@pytest.mark.parametrize("at", [0.0, 1.0])
@pytest.mark.parametrize("irreps", ["0e + 1o + 0o + 1e"])
def test_derivatives_are_right_to_second_order_also_at_zero(irreps: str, at: float) -> None:
    x = (at * torch.randn(2, 8, 3)).requires_grad_()
    for made in (EquivariantLinear(irreps, 3, 2), Gate(irreps, 3), EquivariantNorm(irreps, 3)):
        layer = scattered(made)
        names, weights = zip(*layer.named_parameters(), strict=True)

        def of(x: Tensor, *given: Tensor, layer: nn.Module = layer, names: tuple[str, ...] = names) -> Tensor:
            return torch.func.functional_call(layer, dict(zip(names, given, strict=True)), (x,))

        assert torch.autograd.gradcheck(of, (x, *weights))
        assert torch.autograd.gradgradcheck(of, (x, *weights))


def test_zero_stays_zero_through_gates_and_norms() -> None:
    zero = torch.zeros(2, 4, 3)
    for layer in layers("0e + 1o")[1:]:
        assert not layer(torch.zeros(2, 4, CHANNELS)).any()
    assert not EquivariantLinear("0e + 1o", 3, 3)(zero).any()


@settings(max_examples=10)
@given(irreps=st.sampled_from(IRREPS), n=st.integers(0, 4), channels=st.integers(1, 4))
def test_the_layouts_of_channels_are_each_others_inverse(irreps: str, n: int, channels: int) -> None:
    of = o3.Irreps(irreps)
    x = torch.randn(n, of.dim, channels)
    packed = to_mul_ir(x, of)
    assert packed.shape == (n, channels * of.dim)
    assert torch.equal(from_mul_ir(packed, of, channels), x)


def test_mul_ir_is_the_layout_in_which_e3nn_turns_features() -> None:
    of = o3.Irreps("0e + 1o + 2e")
    x, q = torch.randn(6, of.dim, CHANNELS), orthogonal(3, inverted=True)
    all_channels = o3.Irreps([(CHANNELS, ir) for _, ir in of])
    turned = to_mul_ir(x, of) @ all_channels.D_from_matrix(q).T
    assert torch.allclose(from_mul_ir(turned, of, CHANNELS), of.D_from_matrix(q) @ x, rtol=EXACT, atol=EXACT)


@pytest.mark.parametrize("irreps", ["", "2x0e + 1o", "0e + 0e", "0e + 1o + 1o"])
def test_irreps_that_are_not_those_of_one_channel_are_refused(irreps: str) -> None:
    for layer in (lambda: EquivariantLinear(irreps, 2, 2), lambda: Gate(irreps, 2), lambda: EquivariantNorm(irreps, 2)):
        with pytest.raises(ConfigError, match="one channel"):
            layer()


@pytest.mark.parametrize("irreps", ["1o", "0o + 1o"])
def test_a_gate_without_true_scalars_is_refused(irreps: str) -> None:
    with pytest.raises(ConfigError, match="0e"):
        Gate(irreps, 2)


def test_harmonics_have_natural_parity_and_pseudo_ones_the_other() -> None:
    assert spherical_irreps(3) == o3.Irreps("0e + 1o + 2e + 3o")
    assert spherical_irreps(0, pseudo=True) == o3.Irreps("0e + 0o")
    assert spherical_irreps(2, pseudo=True) == o3.Irreps("0e + 1o + 2e + 0o + 1e + 2o")
