"""The encoder `gaunt`: convolution, powers on the sphere, linear maps and gates, layer by layer.

After MACE (Batatia et al. 2022, arXiv:2206.07697) and NequIP (Batzner et al. 2022, arXiv:2101.03164), with the Gaunt
products of Luo, Chen and Krishnapriyan 2024 (arXiv:2401.10216).
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Final

import torch
from e3nn import o3
from torch import Tensor, nn

from molgen.errors import ConfigError
from molgen.interfaces import EdgeSpec, Encoder, Features, check_inputs
from molgen.neighbors import Graph, safe_norm
from molgen.nn import (
    EquivariantLinear,
    EquivariantNorm,
    Gate,
    Neighborhoods,
    RadialNetwork,
    SphereGrid,
    SphericalHarmonics,
)
from molgen_gaunt.encoder.config import GauntEncoderConfig
from molgen_gaunt.encoder.convolution import Convolution, Edges
from molgen_gaunt.encoder.irreps import aligned, copies, gathered_irreps, hidden_irreps
from molgen_gaunt.encoder.powers import build_powers

__all__ = ["GauntEncoder", "build"]

# Å, or the unit of scaled lengths: harmonics of degree l fall off as r^l below it, so that they are smooth at r = 0
_SOFT: Final = 0.1


def build(config: GauntEncoderConfig, *, inputs: int, edge_inputs: int = 0, average_neighbors: float) -> GauntEncoder:
    """The `gaunt` encoder of a config; see :class:`GauntEncoder`."""
    return GauntEncoder(config, inputs=inputs, edge_inputs=edge_inputs, average_neighbors=average_neighbors)


class GauntEncoder(Encoder):
    """Node features of degrees 0 … l_hidden; each layer gathers neighbours up to degree l_max and takes powers of that.

    Args:
        config: see :class:`GauntEncoderConfig`.
        inputs: invariant scalars per node.
        edge_inputs: invariant scalars per edge, 0 for none.
        average_neighbors: what sums over neighbours are divided by.

    Raises:
        ConfigError: a product that can't make the features, average_neighbors that is not positive.

    >>> import molgen, torch
    >>> from molgen.neighbors import radius_graph
    >>> config = {"channels": 8, "l_max": 2, "cutoff": 4.0}
    >>> encoder = molgen.build("encoder", "gaunt", inputs=4, average_neighbors=2.0, config=config)
    >>> water = molgen.Structures.build([[0.0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]], [8, 1, 1]).to(torch.float32)
    >>> encoder(radius_graph(water, 4.0), torch.ones(3, 4)).nodes.shape
    torch.Size([3, 32])
    """

    spread: Tensor

    def __init__(
        self, config: GauntEncoderConfig, *, inputs: int, edge_inputs: int = 0, average_neighbors: float
    ) -> None:
        super().__init__()
        if not 0 < average_neighbors < math.inf:
            raise ConfigError(f"average_neighbors is {average_neighbors}", expected="a positive number")
        self.config, c = config, config.channels
        self.widths = {"inputs": inputs, "edge_inputs": edge_inputs}
        self.edges = EdgeSpec("complete") if config.cutoff is None else EdgeSpec("radius", config.cutoff, periodic=True)
        self.radial = RadialNetwork(
            config.cutoff,
            config.radial_basis,
            edge_inputs,
            config.radial_channels,
            0,
            envelope_exponent=config.envelope_exponent,
        )
        self.harmonics = SphericalHarmonics(config.l_max)
        degrees = torch.tensor([l for l in range(config.l_max + 1) for _ in range(2 * l + 1)])
        self.register_buffer("spread", nn.functional.one_hot(degrees).T.float(), persistent=False)  # [L, K]
        self.embed = nn.Linear(inputs, c)
        irreps, layers = o3.Irreps("0e"), []
        for _ in range(config.layers):
            layers.append(_Layer(config, irreps, inputs, average_neighbors))
            irreps = layers[-1].irreps_out
        self.layers = nn.ModuleList(layers)
        self.irreps_hidden = irreps
        self.irreps_out = copies(irreps, c) if config.irreps_out is None else o3.Irreps(config.irreps_out)
        self.read_outs = nn.ParameterList(torch.randn(c, mul) / math.sqrt(c) for mul, _ in self.irreps_out)

    def forward(self, graph: Graph, node_scalars: Tensor, edge_scalars: Tensor | None = None) -> Features:
        """Nodes [N, irreps_out.dim], no edges."""
        check_inputs(self.embed.weight.dtype, graph, node_scalars, edge_scalars, **self.widths)
        hoods = Neighborhoods(graph)
        slots = graph
        if not hoods.full:
            # from here on edges stand in their slots, where each layer wants them
            vectors = torch.cat([block.flatten(0, 1) for block in hoods.of_edges(graph.vectors)])
            slots = replace(graph, vectors=vectors, lengths=safe_norm(vectors))
            if edge_scalars is not None:
                edge_scalars = torch.cat([block.flatten(0, 1) for block in hoods.of_edges(edge_scalars)])
        # invariants may be rounded by autocast; what turns with the molecule may not
        radial = self.radial.features(slots, edge_scalars)
        with torch.autocast(graph.vectors.device.type, enabled=False):
            dtype = graph.vectors.dtype
            edges = Edges(graph, hoods, self._harmonics(slots, hoods), radial.to(dtype))
            return Features(self._nodes(node_scalars.to(dtype), edges))

    def _nodes(self, node_scalars: Tensor, edges: Edges) -> Tensor:
        x = self.embed(node_scalars)[:, None]  # [N, 1, C]
        for number, layer in enumerate(self.layers):
            if number:
                x = edges.graph.exchange(x)
            x = layer(x, node_scalars, edges)
        there = dict(zip((ir for _, ir in self.irreps_hidden), self.irreps_hidden.slices(), strict=True))
        parts = [
            (x[:, there[ir]].flatten(0, 1) @ weight).unflatten(0, (-1, ir.dim)).transpose(1, 2).flatten(1)
            for (_, ir), weight in zip(self.irreps_out, self.read_outs, strict=True)
        ]
        return torch.cat(parts, dim=1)

    def _harmonics(self, slots: Graph, hoods: Neighborhoods) -> Tensor:
        """[S, K] with the envelope; zero in empty slots."""
        lengths = slots.lengths
        soft = lengths * torch.rsqrt(lengths.square() + _SOFT**2)
        scale = self.radial.envelope(slots)
        scale = torch.ones_like(lengths) if scale is None else scale
        scales = [scale if hoods.full else scale * hoods.filled()]
        for _ in range(self.config.l_max):
            scales.append(scales[-1] * soft)
        powers = torch.stack(scales, dim=1) @ self.spread.to(lengths.dtype)  # [S, K]
        values: Tensor = self.harmonics(slots.vectors)
        return values * powers


class _Layer(nn.Module):
    """x ← skip(x) + f(Σ_ν w_ν A^ν), A the convolution of x, w a linear function of the node scalars."""

    def __init__(self, config: GauntEncoderConfig, irreps_in: o3.Irreps, inputs: int, average_neighbors: float) -> None:
        super().__init__()
        c = config.channels
        gathered = gathered_irreps(irreps_in, config.l_max, full=config.parity == "full")
        self.irreps_in = irreps_in
        self.irreps_out = hidden_irreps(gathered, config.l_hidden, config.correlation)
        self.average_neighbors = average_neighbors
        self.norm = EquivariantNorm(irreps_in, c) if config.normalize else nn.Identity()
        self.mix_in = EquivariantLinear(irreps_in, c, c)
        self.convolution = Convolution(
            config.tensor_product,
            irreps_in,
            config.l_max,
            gathered,
            channels=c,
            radial_channels=config.radial_channels,
            aggregation=config.aggregation,
        )
        self.mix = EquivariantLinear(gathered, c, c)
        self.norm_gathered = EquivariantNorm(gathered, c) if config.normalize else nn.Identity()
        self.powers = build_powers(
            config.tensor_product, gathered, self.irreps_out, channels=c, correlation=config.correlation
        )
        self.power_weights = nn.Linear(inputs, self.powers.weight_numel)
        nn.init.normal_(self.power_weights.bias, std=1 / math.sqrt(config.correlation))
        self.update = nn.Sequential(EquivariantLinear(self.irreps_out, c, c))
        if config.nonlinearity != "none":
            self.update.append(_nonlinearity(config, self.irreps_out))
            self.update.append(EquivariantLinear(self.irreps_out, c, c))
        self.carried = o3.Irreps([(1, ir) for _, ir in irreps_in if ir in self.irreps_out])
        self.skip = EquivariantLinear(self.carried, c, c, bias=False)

    def forward(self, x: Tensor, node_scalars: Tensor, edges: Edges) -> Tensor:
        """[N, K_out, C] of x [N, K_in, C] and node scalars [N, inputs]."""
        gathered = self.convolution(self.mix_in(self.norm(x)), edges) / self.average_neighbors
        gathered = self.norm_gathered(self.mix(gathered))
        weights = self.power_weights(node_scalars).to(gathered.dtype)
        carried = self.skip(aligned(x, self.irreps_in, self.carried))
        return aligned(carried, self.carried, self.irreps_out) + self.update(self.powers(gathered, weights))


class _OnSphere(nn.Module):
    """SiLU of the values at points of the sphere, a nonlinearity on all degrees at once."""

    def __init__(self, l_max: int) -> None:
        super().__init__()
        # exact for the first eight degrees that SiLU makes; the README measures what the others leave
        self.grid = SphereGrid(l_max, 8 * l_max + 8)

    def forward(self, x: Tensor) -> Tensor:
        """[N, K, C] of [N, K, C]."""
        return self.grid.from_grid(nn.functional.silu(self.grid.to_grid(x)))


def _nonlinearity(config: GauntEncoderConfig, irreps: o3.Irreps) -> nn.Module:
    return Gate(irreps, config.channels) if config.nonlinearity == "gate" else _OnSphere(config.l_hidden)
