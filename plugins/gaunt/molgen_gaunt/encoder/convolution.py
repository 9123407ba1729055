"""Messages x_j ⊗ R(r_ij) Y(r̂_ij), summed over neighbours, by any tensor product that is channel-wise.

A product is bilinear, so that it may come after the sum: moments Σ_j x_j Y_ijᵀ are gathered, one matrix product for
each receiver, and the product turns them into features, once per node and not per edge. Nothing as large as edges ×
channels × components is ever written. Where degrees are so high that moments are larger than that, the product is taken
on every edge.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

import torch
from e3nn import o3
from torch import Tensor, nn

from molgen.errors import ConfigError
from molgen.host.component import ComponentRef
from molgen.interfaces import TensorProduct
from molgen.neighbors import Graph
from molgen.nn import Neighborhoods, from_mul_ir, gather_senders, sum_to_receivers, to_mul_ir
from molgen_gaunt.encoder.moments import moments

__all__ = ["Convolution", "Edges", "build_product"]

# moments per channel (components of x times those of a filter) above which edges are cheaper
_MOST_MOMENTS: Final = 1024


@dataclass(frozen=True, eq=False)
class Edges:
    """What all layers share: the graph, its neighbourhoods, harmonics and radial features of the edge in each slot."""

    graph: Graph
    neighborhoods: Neighborhoods
    harmonics: Tensor  # [S, (l_max + 1)²], with the envelope, zero in empty slots
    radial: Tensor  # [S, H]


def build_product(ref: ComponentRef, channels: int, irreps: tuple[o3.Irreps, o3.Irreps, o3.Irreps]) -> TensorProduct:
    """The product of a config between as many channels of each irreps.

    Raises:
        ConfigError: it wants weights from outside, or can't make the output.
    """
    names = ("irreps1", "irreps2", "irreps_out")
    sides = {name: _copies(side, channels) for name, side in zip(names, irreps, strict=True)}
    product: TensorProduct = ref.build(**sides)
    if product.weight_numel:
        raise ConfigError(
            f"{ref.use} takes weights from outside, and this network has none for it",
            where="tensor_product",
            remedy="set weights: internal, or none",
        )
    return product


class Convolution(nn.Module):
    """[N, K_out, C] of node features [N, K_in, C]: Σ_j x_j ⊗ R(r_ij) Y(r̂_ij).

    Each channel has its own radial function R, linear in the radial features of the edges and the same for all degrees
    of Y; the product's weights and the linear maps before and after make those of a degree.

    Args:
        product: of a config.
        irreps_in: of one channel of x.
        l_filter: highest degree of the harmonics.
        irreps_out: of one channel of the output.
        channels: C.
        radial_channels: H.
        aggregation: see the config.
    """

    basis1: Tensor
    basis2: Tensor

    def __init__(
        self,
        product: ComponentRef,
        irreps_in: o3.Irreps,
        l_filter: int,
        irreps_out: o3.Irreps,
        *,
        channels: int,
        radial_channels: int,
        aggregation: Literal["auto", "moments", "edges"],
    ) -> None:
        super().__init__()
        self.irreps_in, self.irreps_out = irreps_in, irreps_out
        self.irreps_filter = o3.Irreps.spherical_harmonics(l_filter)
        self.channels = channels
        self._kept: tuple[object, Tensor] | None = None
        self.product = build_product(product, channels, (irreps_in, self.irreps_filter, irreps_out))
        # every pair of components, in all channels at once
        first = torch.eye(irreps_in.dim).repeat_interleave(self.irreps_filter.dim, 0)
        second = torch.eye(self.irreps_filter.dim).repeat(irreps_in.dim, 1)
        self.register_buffer("basis1", self._in_all_channels(first, irreps_in), persistent=False)
        self.register_buffer("basis2", self._in_all_channels(second, self.irreps_filter), persistent=False)
        channelwise = self._is_channelwise()
        if aggregation == "moments" and not channelwise:
            raise ConfigError(
                f"{product.use} mixes channels, so that it can't follow the sum over neighbours",
                where="aggregation",
                remedy="set aggregation: auto or edges, or mode: channelwise of the product",
            )
        by_moments = channelwise and (
            aggregation == "moments" or irreps_in.dim * self.irreps_filter.dim <= _MOST_MOMENTS
        )
        self.aggregation = "moments" if by_moments and aggregation != "edges" else "edges"
        self.radial = nn.Parameter(torch.randn(channels, radial_channels) / radial_channels**0.5)

    def forward(self, x: Tensor, edges: Edges) -> Tensor:
        """Of x [N, K_in, C]."""
        return self._by_moments(x, edges) if self.aggregation == "moments" else self._on_edges(x, edges)

    def coupling(self) -> Tensor:
        """[C, K_in · K_filter, K_out]: the product, channel by channel, as a matrix.

        Kept from call to call while no weight of the product asks for a gradient and none was written to.
        """
        weights = list(self.product.parameters())
        if torch.compiler.is_compiling() or any(weight.requires_grad for weight in weights):
            self._kept = None
            return self._coupling()
        state = (self.basis1.dtype, self.basis1.device, [(weight.data_ptr(), weight._version) for weight in weights])
        if self._kept is None or self._kept[0] != state:
            self._kept = state, self._coupling().contiguous()
        return self._kept[1]

    def _coupling(self) -> Tensor:
        rows = self.product(self.basis1, self.basis2)
        return from_mul_ir(rows, self.irreps_out, self.channels).permute(2, 0, 1)

    def _by_moments(self, x: Tensor, edges: Edges) -> Tensor:
        n, _, channels = x.shape
        found = moments(x, edges.radial, edges.harmonics, self.radial, edges.neighborhoods)  # [N, K_in, C, K_filter]
        by_channel = found.permute(2, 0, 1, 3).reshape(channels, n, -1)  # [C, N, K_in · K_filter]
        return _ChannelsLast.apply(torch.bmm(by_channel, self.coupling()))

    def _on_edges(self, x: Tensor, edges: Edges) -> Tensor:
        senders = gather_senders(edges.graph, to_mul_ir(x, self.irreps_in))  # [E, C · K_in]
        slots = edges.neighborhoods.slots()
        features, harmonics = (t.index_select(0, slots) for t in (edges.radial, edges.harmonics))  # [E, …]
        filters = (features @ self.radial.T)[:, None] * harmonics[..., None]  # [E, K_filter, C]
        messages = self.product(senders, to_mul_ir(filters, self.irreps_filter))
        return from_mul_ir(sum_to_receivers(edges.graph, messages), self.irreps_out, self.channels)

    def _in_all_channels(self, rows: Tensor, irreps: o3.Irreps) -> Tensor:
        return to_mul_ir(rows[..., None].expand(-1, -1, self.channels), irreps).contiguous()

    def _is_channelwise(self) -> bool:
        """Whether the first channels of the inputs reach no other channel of the output."""
        first = torch.zeros(self.channels)
        first[0] = 1
        sides = [torch.rand(1, irreps.dim, 1) * first for irreps in (self.irreps_in, self.irreps_filter)]
        with torch.no_grad():
            out = self.product(to_mul_ir(sides[0], self.irreps_in), to_mul_ir(sides[1], self.irreps_filter))
        return not from_mul_ir(out, self.irreps_out, self.channels)[..., 1:].any()


class _ChannelsLast(torch.autograd.Function):
    """[N, K, C] of [C, N, K], in memory too, both ways: batches of matrix products are slow across strides."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.permute(1, 2, 0).contiguous()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return _ChannelsFirst.apply(grads[0])


class _ChannelsFirst(torch.autograd.Function):
    """The inverse of `_ChannelsLast`, which is its transpose."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.permute(2, 0, 1).contiguous()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return _ChannelsLast.apply(grads[0])


def _copies(irreps: o3.Irreps, channels: int) -> o3.Irreps:
    return o3.Irreps([(channels, ir) for _, ir in irreps])
