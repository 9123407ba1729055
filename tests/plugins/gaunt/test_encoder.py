"""The encoder `gaunt`: sums before products, powers of both parities, other products in its place, its options."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from e3nn import o3
from molgen_gaunt.encoder import GauntEncoder
from molgen_gaunt.encoder.config import GauntEncoderConfig
from molgen_gaunt.encoder.convolution import Convolution
from torch import Tensor

import molgen
from molgen.errors import ConfigError, InputError
from molgen.host.config import validate
from molgen.neighbors import complete_graph, radius_graph
from molgen.nn import WignerD
from molgen.structures import Structures

EXACT = 1e-11  # relative, float64: rounding of some thousand operations
SMALL: Mapping[str, Any] = {"channels": 6, "l_max": 2, "layers": 2}


def make(**options: Any) -> GauntEncoder:
    torch.manual_seed(0)
    return molgen.build("encoder", "gaunt", inputs=3, average_neighbors=4.0, config={**SMALL, **options}).double()


def cluster(n: int = 8, seed: int = 0) -> Structures:
    x = 1.5 * torch.randn(n, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return Structures.build(x, [6] * n, n_atoms=[n - 3, 3])


def scalars(n: int = 8) -> Tensor:
    return torch.randn(n, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def features(encoder: GauntEncoder, structures: Structures) -> Tensor:
    cutoff = encoder.edges.cutoff
    graph = complete_graph(structures) if cutoff is None else radius_graph(structures, cutoff)
    return encoder(graph, scalars(len(structures.positions))).nodes


def turned(features: Tensor, irreps: o3.Irreps, q: Tensor) -> Tensor:
    """Features turned, and mirrored where det q = −1."""
    sign = torch.det(q)
    blocks = WignerD(irreps.lmax)((q * sign)[None])
    matrices = [blocks[ir.l][0] * (ir.p if sign < 0 else 1) for mul, ir in irreps for _ in range(mul)]
    return features @ torch.block_diag(*matrices).T


@pytest.mark.parametrize(
    "options",
    [
        {"parity": "full", "l_hidden": 2},
        {"parity": "full", "tensor_product": "clebsch-gordan", "cutoff": 4.0},
        {"parity": "full", "layers": 3, "irreps_out": "6x0e + 2x0o + 1x1o + 3x1e"},
        {"tensor_product": {"use": "gaunt", "config": {"rank": 3}}},
        {"tensor_product": {"use": "gaunt", "config": {"mode": "fully-connected", "weights": "none"}}},
        {"nonlinearity": "none", "normalize": False, "correlation": 1},
        {"aggregation": "edges", "cutoff": 4.0},
    ],
    ids=str,
)
def test_features_of_both_parities_turn_and_mirror_with_the_molecule(options: dict[str, Any]) -> None:
    encoder, structures = make(**options), cluster()
    q, _ = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64))
    before = features(encoder, structures)
    for matrix in (q, -q):
        after = features(encoder, structures.replace(positions=structures.positions @ matrix.T - 5.0))
        expected = turned(before, encoder.irreps_out, matrix)
        assert (after - expected).abs().max() <= EXACT * expected.abs().max()
    assert all(before[:, part].abs().max() > 1e-9 for part in encoder.irreps_out.slices())


@pytest.mark.parametrize("product", ["gaunt", "clebsch-gordan"])
@pytest.mark.parametrize("parity", ["even", "full"])
def test_products_after_the_sum_and_on_every_edge_are_the_same_function(product: str, parity: str) -> None:
    options = {"tensor_product": product, "parity": parity, "cutoff": 4.0}
    summed, on_edges = make(aggregation="moments", **options), make(aggregation="edges", **options)
    on_edges.load_state_dict(summed.state_dict())
    structures = cluster()
    results = []
    for encoder in (summed, on_edges):
        x = structures.positions.clone().requires_grad_()
        out = features(encoder, structures.replace(positions=x))
        (slope,) = torch.autograd.grad(out.sin().sum(), x, create_graph=True)
        weights = list(encoder.parameters())
        second = torch.autograd.grad(slope.square().sum(), weights, allow_unused=True)
        results.append([out, slope, *(torch.zeros(()) if grad is None else grad for grad in second)])
    for a, b in zip(*results, strict=True):
        assert (a - b).abs().max() <= 1e-10 * (1 + b.abs().max())


def test_a_product_that_mixes_channels_is_taken_on_edges_and_refused_after_the_sum() -> None:
    mixing = {"use": "gaunt", "config": {"mode": "fully-connected", "weights": "none"}}
    assert make(tensor_product=mixing).layers[0].convolution.aggregation == "edges"
    with pytest.raises(ConfigError, match="mixes channels"):
        make(tensor_product=mixing, aggregation="moments")


def test_moments_that_would_outgrow_the_edges_are_not_gathered() -> None:
    assert make(l_max=2, l_hidden=2).layers[1].convolution.aggregation == "moments"
    assert make(l_max=6, l_hidden=6, correlation=1).layers[1].convolution.aggregation == "edges"


def test_the_coupling_follows_weights_that_are_loaded_while_nothing_trains() -> None:
    encoder, other = make(), make()
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(0.1)
    encoder.requires_grad_(False)
    structures = cluster()
    first = features(encoder, structures)
    assert torch.equal(first, features(encoder, structures))
    encoder.load_state_dict(other.state_dict())
    assert torch.allclose(features(encoder, structures), features(other, structures), atol=1e-12)
    assert not torch.allclose(features(encoder, structures), first)
    assert features(encoder.float().double(), structures).dtype == torch.float64


def test_the_coupling_is_kept_in_evaluation_until_a_weight_changes_or_trains() -> None:
    convolution = make().requires_grad_(False).layers[0].convolution
    assert isinstance(convolution, Convolution)
    assert convolution.coupling() is not convolution.coupling()
    convolution.eval()
    kept = convolution.coupling()
    assert convolution.coupling() is kept
    for parameter in convolution.product.parameters():
        parameter.data.mul_(2.0)  # leaves no trace but the numbers
    assert not torch.allclose(convolution.coupling(), kept)
    convolution.requires_grad_(True)
    assert convolution.coupling().requires_grad


def test_forces_follow_a_call_in_inference_mode() -> None:
    encoder, structures = make(cutoff=4.0).requires_grad_(False).eval(), cluster()
    with torch.inference_mode():
        expected = features(encoder, structures)
    x = structures.positions.clone().requires_grad_()
    out = features(encoder, structures.replace(positions=x))
    assert torch.allclose(out, expected, atol=1e-12)
    assert torch.autograd.grad(out.sum(), x)[0].abs().max() > 0


def test_products_that_compute_on_a_gpu_alone_can_be_built_on_a_cpu() -> None:
    pytest.importorskip("triton")
    fused = {"use": "gaunt", "config": {"method": "fused"}}
    assert make(tensor_product=fused, aggregation="edges").layers[1].convolution.aggregation == "edges"


def test_nothing_is_kept_for_moments_where_products_are_taken_on_edges() -> None:
    assert not dict(make(aggregation="edges").layers[1].convolution.named_buffers(recurse=False))


def test_neighbourhoods_of_many_sizes_give_what_one_size_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    n = 30
    centre = torch.randn(n - 6, 3, dtype=torch.float64)  # crowded, with a tail of lone atoms
    tail = torch.arange(1.0, 7.0, dtype=torch.float64)[:, None] * torch.tensor([2.5, 0.3, 0.1], dtype=torch.float64)
    structures = Structures.build(torch.cat((centre, tail)), [6] * n)
    encoder = make(cutoff=3.0)
    expected = features(encoder, structures)
    monkeypatch.setattr("molgen.nn.neighborhoods._FEW_SLOTS", 0)
    assert torch.allclose(features(encoder, structures), expected, atol=1e-12)


def test_elements_may_have_powers_of_their_own() -> None:
    encoder, structures = make(), cluster()
    before = features(encoder, structures)
    with torch.no_grad():
        encoder.layers[0].power_weights.weight[:, 0].add_(1.0)
    assert not torch.allclose(features(encoder, structures), before)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"l_hidden": 3}, "l_hidden = 3 is above l_max = 2"),
        ({"irreps_out": "4x0e + 1x0o"}, "no feature of the network is 0o"),
        ({"irreps_out": "4x0e + 1x1e"}, "set parity: full"),
        ({"irreps_out": "4x2e"}, "raise l_hidden"),
        ({"irreps_out": "four"}, "no irreps"),
        ({"irreps_out": "0x0e"}, "empty"),
        ({"irreps_out": "1x1e", "parity": "full", "layers": 1, "l_hidden": 0}, "raise l_hidden"),
        ({"irreps_out": "1x0o", "parity": "full", "layers": 1}, "more layers"),
        ({"l_max": 0}, "l_hidden = 1 is above l_max = 0"),
        ({"parity": "full", "tensor_product": {"use": "gaunt", "config": {"parity": "even"}}}, "its parity is even"),
        ({"tensor_product": {"use": "gaunt", "confgi": {"rank": 4}}}, "confgi"),
        ({"layers": 0}, "layers"),
        ({"cutoff": -1.0}, "cutoff"),
        ({"cutoff": float("inf")}, "cutoff"),
        ({"correlation": 0}, "correlation"),
        ({"nonlinearity": "s2", "parity": "full"}, "no functions on the sphere"),
        ({"tensor_product": "gount"}, "tensor_product"),
        ({"tensor_product": {"use": "gaunt", "config": {"rank": 0}}}, "tensor_product.config.rank"),
        ({"tensor_product": 3}, "tensor_product"),
        ({"chanels": 3}, "channels"),
    ],
    ids=str,
)
def test_options_that_can_not_work_are_refused_when_they_are_read(options: dict[str, Any], message: str) -> None:
    with pytest.raises(molgen.errors.MolgenError, match=message) as caught:
        validate(GauntEncoderConfig, {**SMALL, **options}, where="encoder.config")
    assert "encoder.config." in str(caught.value)


def test_weights_from_outside_are_refused_since_nobody_hands_them_in() -> None:
    with pytest.raises(ConfigError, match="weights from outside"):
        make(tensor_product={"use": "gaunt", "config": {"weights": "external"}})
    with pytest.raises(ConfigError, match="average_neighbors"):
        molgen.build("encoder", "gaunt", inputs=1, average_neighbors=-1.0)


def test_the_plain_name_of_a_product_takes_the_parity_and_weights_of_the_network() -> None:
    for use in ("gaunt", "molgen-gaunt:clebsch-gordan"):
        config = GauntEncoderConfig.model_validate({"tensor_product": use, "parity": "full"})
        assert (config.tensor_product.config.parity, config.tensor_product.config.weights) == ("full", "internal")
    chosen = {"tensor_product": {"use": "gaunt", "config": {"weights": "none"}}}
    assert GauntEncoderConfig.model_validate(chosen).tensor_product.config.weights == "none"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"node_scalars": torch.zeros(8, 2, dtype=torch.float64)}, "node_scalars are of shape"),
        ({"node_scalars": torch.zeros(7, 3, dtype=torch.float64)}, "node_scalars are of shape"),
        ({"edge_scalars": torch.zeros(26, 2, dtype=torch.float64)}, "built without them"),
        ({"graph": complete_graph(cluster().to(torch.float32))}, "float32, and the encoder's weights torch.float64"),
    ],
    ids=["width", "rows", "edges", "dtype"],
)
def test_inputs_of_another_shape_or_dtype_are_refused_by_name(change: dict[str, Any], message: str) -> None:
    given = {"graph": complete_graph(cluster()), "node_scalars": scalars(), **change}
    with pytest.raises(InputError, match=message):
        make()(**given)
