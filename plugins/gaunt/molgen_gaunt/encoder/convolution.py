"""Messages x_j ⊗ R(r_ij) Y(r̂_ij), summed over neighbours, by any tensor product that is channel-wise.

A product is bilinear, so that it may come after the sum: moments Σ_j x_j Y_ijᵀ are gathered, one matrix product for
each receiver, and the product turns them into features, once per node and not per edge. Messages, of edges × channels ×
components, are never written. Where degrees are so high that moments are larger than that, the product is taken
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
from molgen.neighbors import Graph
from molgen.nn import Neighborhoods, from_mul_ir, gather_senders, sum_to_receivers, to_mul_ir
from molgen_gaunt.encoder.moments import moments
from molgen_gaunt.encoder.products import build_product

__all__ = ["Convolution", "Edges"]

# moments per channel (components of x times those of a filter) above which edges are cheaper
_MOST_MOMENTS: Final = 1024


@dataclass(frozen=True, eq=False)
class Edges:
    """What all layers share: the graph, its neighbourhoods, harmonics and radial features of the edge in each slot."""

    graph: Graph
    neighborhoods: Neighborhoods
    harmonics: Tensor  # [S, (l_max + 1)²], with the envelope, zero in empty slots
    radial: Tensor  # [S, H]


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
        self._coupled: _Coupled | None = None
        self.product = build_product(product, channels, (irreps_in, self.irreps_filter, irreps_out))
        if aggregation == "moments" and not self.product.channelwise:
            raise ConfigError(
                f"{product.use} mixes channels, so that it can't follow the sum over neighbours",
                where="aggregation",
                remedy="set aggregation: auto or edges, or mode: channelwise of the product",
            )
        few = irreps_in.dim * self.irreps_filter.dim <= _MOST_MOMENTS
        if aggregation == "auto":
            aggregation = "moments" if few and self.product.channelwise else "edges"
        self.aggregation = aggregation
        if aggregation == "moments":
            # every pair of components, in all channels at once
            first = torch.eye(irreps_in.dim).repeat_interleave(self.irreps_filter.dim, 0)
            second = torch.eye(self.irreps_filter.dim).repeat(irreps_in.dim, 1)
            self.register_buffer("basis1", self._in_all_channels(first, irreps_in), persistent=False)
            self.register_buffer("basis2", self._in_all_channels(second, self.irreps_filter), persistent=False)
        self.radial = nn.Parameter(torch.randn(channels, radial_channels) / radial_channels**0.5)

    def forward(self, x: Tensor, edges: Edges) -> Tensor:
        """Of x [N, K_in, C]."""
        return self._by_moments(x, edges) if self.aggregation == "moments" else self._on_edges(x, edges)

    def coupling(self) -> Tensor:
        """[C, K_in · K_filter, K_out]: the product, channel by channel, as a matrix.

        Kept from call to call in evaluation while no weight of the product asks for a gradient or changes; buffers of a
        product are taken for constants.
        """
        weights = list(self.product.parameters())
        if self.training or torch.compiler.is_compiling() or any(weight.requires_grad for weight in weights):
            self._coupled = None
            return self._coupling()
        if self._coupled is None or not self._coupled.fits(self.basis1, weights):
            # tensors made in inference mode could not be saved for a derivative later
            with torch.inference_mode(False), torch.no_grad():
                kept = [weight.clone() for weight in weights]
            self._coupled = _Coupled(self._coupling().contiguous(), self.basis1, kept)
        return self._coupled.matrix

    def _coupling(self) -> Tensor:
        rows = self.product(self.basis1, self.basis2)
        return from_mul_ir(rows, self.irreps_out, self.channels).permute(2, 0, 1)

    def _by_moments(self, x: Tensor, edges: Edges) -> Tensor:
        n, _, channels = x.shape
        found = moments(x, edges.radial, edges.harmonics, self.radial, edges.neighborhoods)  # [N, K_in, C, K_filter]
        size = found.shape[1] * found.shape[3]
        by_channel = found.permute(2, 0, 1, 3).reshape(channels, n, size)  # [C, N, K_in · K_filter]
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


@dataclass(frozen=True, eq=False)
class _Coupled:
    """A product as a matrix, and what it was made of."""

    matrix: Tensor
    basis: Tensor
    weights: list[Tensor]

    def fits(self, basis: Tensor, weights: list[Tensor]) -> bool:
        """Whether it would be made again of these."""
        if basis is not self.basis or (self.matrix.is_inference() and not torch.is_inference_mode_enabled()):
            return False
        return all(torch.equal(old, new) for old, new in zip(self.weights, weights, strict=True))


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
