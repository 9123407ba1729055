"""`Denoiser`: an encoder and read-outs as a function of scale-free noise, D(x̃, σ) with x̃ = x₀ + σ·ε, σ in Å."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from molgen.errors import ConfigError
from molgen.interfaces import Codec, Denoised, EncoderBuilder, Noisy, Process, Schema
from molgen.neighbors import complete_graph
from molgen.nn import ExponentialBasis, GaussianCodec, LogarithmicBasis, MaskedCodec, centre

__all__ = ["Denoiser"]

# noise levels in Å over which the embedding of σ resolves
_SIGMA_LOW, _SIGMA_HIGH = 1e-3, 80.0


class Denoiser(nn.Module):
    """The host's generator network: preconditioning, encoder, read-outs of displacement and element.

    D = c_skip·x̃ + c_out·F(c_in·x̃; ln σ), projected to zero centre of mass, where F is the encoder's displacement
    (Karras et al. 2022, eq. 7). `process.parametrisation` chooses the coefficients: `karras` (table 1) or `edm`, where
    F is minus the noise of the variance-preserving process (Hoogeboom et al. 2022): c_skip = 1, c_out = σ,
    c_in = 1/√(1 + σ²).

    Args:
        encoder: builds the encoder once the number of its inputs is known.
        schema: elements of the data.
        process: what is learned.
        average_neighbors: of the training data's complete graphs.
    """

    elements: Tensor  # [V] atomic numbers
    codes: Tensor  # [largest atomic number + 1] code of each, -1 for none

    def __init__(self, encoder: EncoderBuilder, schema: Schema, process: Process, average_neighbors: float) -> None:
        super().__init__()
        self.schema, self.process = schema, process
        v = len(schema.elements)
        self.codec = _codec(process.codecs["species"], v)
        self.noise_basis = LogarithmicBasis(16, _SIGMA_LOW, _SIGMA_HIGH)
        self.raw_basis = ExponentialBasis(24, scale=1.5)  # Å: the width of a bond at the first functions
        self.scaled_basis = ExponentialBasis(8, scale=1.0)
        # species, noise level, number of atoms
        inputs = self.codec.inputs + 16 + 1
        self.encoder = encoder(inputs=inputs, edge_inputs=24 + 8, average_neighbors=average_neighbors)
        if self.encoder.edges.kind == "radius":
            raise ConfigError(
                "this encoder sees only neighbours within its cutoff",
                where="encoder.config.cutoff",
                expected="complete graphs: under noise there is no neighbourhood to cut",
                remedy="leave the cutoff out",
            )
        self.scalars, self.displacement = _find_readouts(self.encoder.irreps_out)
        width = self.scalars.stop - self.scalars.start
        self.species_head = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, v))
        elements = torch.tensor(schema.elements)
        codes = torch.full((int(elements.max()) + 1,), -1)
        codes[elements] = torch.arange(v)
        self.register_buffer("elements", elements, persistent=False)
        self.register_buffer("codes", codes, persistent=False)

    def encode_species(self, species: Tensor) -> Tensor:
        """[N] codes of atomic numbers [N]."""
        return self.codes[species]

    def coefficients(self, sigma: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """c_skip, c_out, c_in of σ, each of its shape."""
        if self.process.parametrisation == "edm":
            return torch.ones_like(sigma), sigma, torch.rsqrt(1.0 + sigma.square())
        d2 = self.process.sigma_data**2
        norm = torch.rsqrt(sigma.square() + d2)
        return d2 * norm.square(), sigma * self.process.sigma_data * norm, norm

    def forward(self, noisy: Noisy) -> Denoised:
        """The clean batch that is expected behind a noisy one."""
        structures, sigma = noisy.structures, noisy.sigma
        counts, total = structures.n_atoms, len(structures.positions)
        per_atom = torch.repeat_interleave(sigma, counts, output_size=total)  # [N]
        c_skip, c_out, c_in = (c[:, None] for c in self.coefficients(per_atom))  # each [N, 1]
        graph = complete_graph(structures.replace(positions=structures.positions * c_in))
        edge_scale = c_in[graph.receivers, 0]  # [E]
        edge_scalars = torch.cat((self.raw_basis(graph.lengths / edge_scale), self.scaled_basis(graph.lengths)), dim=1)
        size = torch.repeat_interleave(counts.to(sigma.dtype), counts, output_size=total)
        node_scalars = torch.cat(
            (self.codec.features(noisy.species, per_atom), self.noise_basis(per_atom), torch.log(size)[:, None] / 3.0),
            dim=1,
        )
        features = self.encoder(graph, node_scalars, edge_scalars).nodes  # [N, irreps_out.dim]
        moved = features[:, self.displacement]
        positions = centre(c_skip * structures.positions + c_out * moved, structures)
        read = self.species_head(features[:, self.scalars]).to(positions.dtype)  # [N, V]
        if self.process.parametrisation == "edm":
            # read is minus the noise of the scaled one-hot, as moved is of the positions
            scale = self.process.codecs["species"].scale
            mean = (noisy.species + per_atom[:, None] * read) / scale
            return Denoised(positions, mean, mean)
        logits = read + self.codec.likelihood(noisy.species, per_atom)
        return Denoised(positions, torch.softmax(logits, dim=1), logits)


def _codec(codec: Codec, size: int) -> GaussianCodec | MaskedCodec:
    return GaussianCodec(size, codec.scale) if codec.kind == "gaussian" else MaskedCodec(size, codec.a, codec.b)


def _find_readouts(irreps: object) -> tuple[slice, slice]:
    """Where an encoder's scalars and its displacement stand in its output."""
    scalars: slice | None = None
    vector: slice | None = None
    for (_, ir), where in zip(irreps, irreps.slices(), strict=True):  # type: ignore[attr-defined, call-overload]
        if ir.l == 0 and ir.p == 1 and scalars is None:
            scalars = where
        if ir.l == 1 and ir.p == -1 and vector is None:
            vector = slice(where.start, where.start + 3)
    if scalars is None or vector is None:
        raise ConfigError(
            f"the encoder returns {irreps}",
            where="encoder.config",
            expected="scalars `0e` and one displacement `1o`",
            remedy="choose options with which it returns both",
        )
    return scalars, vector
