"""The components of a pretended plugin: an encoder that holds a tensor product, and a sampler."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Literal

import torch
from e3nn import o3
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from molgen.errors import ConfigError
from molgen.host.component import ComponentKind, ComponentRef
from molgen.interfaces import (
    Codec,
    EdgeSpec,
    Encoder,
    EncoderBuilder,
    Features,
    Process,
    Request,
    Sampler,
    Schema,
    State,
    TensorProduct,
)
from molgen.models.denoiser import Denoiser
from molgen.neighbors import Graph
from molgen.random import Streams
from molgen.structures import Structures


class ProductConfig(BaseModel):
    model_config = ConfigDict(extra="forbid")
    scale: float = 1.0


class Product(TensorProduct):
    def __init__(self, config: ProductConfig, irreps1: str, irreps2: str, irreps_out: str) -> None:
        super().__init__()
        self.irreps1, self.irreps2 = o3.Irreps(irreps1), o3.Irreps(irreps2)
        self.irreps_out = o3.Irreps(irreps_out)
        self.gain = nn.Parameter(torch.full((1,), config.scale))

    def forward(self, x1: Tensor, x2: Tensor, weights: Tensor | None = None) -> Tensor:
        return self.gain * x1 * x2


def build_product(config: ProductConfig, *, irreps1: str, irreps2: str, irreps_out: str) -> Product:
    return Product(config, irreps1, irreps2, irreps_out)


class EncoderConfig(BaseModel):
    model_config = ConfigDict(extra="forbid")
    channels: int = Field(4, ge=1)
    edges: Literal["complete", "radius", "any"] = "complete"
    cutoff: float | None = None
    product: Annotated[ComponentRef, ComponentKind("tensor_product")] = Field("product", validate_default=True)


class ToyEncoder(Encoder):
    """Scalars from a linear map and distances, and a displacement from the vectors."""

    def __init__(self, config: EncoderConfig, inputs: int, edge_inputs: int, average_neighbors: float) -> None:
        super().__init__()
        if config.channels == 13:
            raise ConfigError("13 channels bring no luck", where="channels", expected="another number")
        self.irreps_out = o3.Irreps(f"{config.channels}x0e + 1x1o")
        self.edges = EdgeSpec(config.edges, config.cutoff)
        self.embed = nn.Linear(inputs, config.channels)
        scalars = f"{config.channels}x0e"
        self.product = config.product.build(irreps1=scalars, irreps2=scalars, irreps_out=scalars)
        self.gate = nn.Linear(config.channels, 1)
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))

    def forward(self, graph: Graph, node_scalars: Tensor, edge_scalars: Tensor | None = None) -> Features:
        h = torch.tanh(self.embed(node_scalars))
        h = self.product(h, h)
        gates = torch.tanh(self.gate(h[graph.senders] + h[graph.receivers])) / (1 + graph.lengths[:, None])
        shift = torch.zeros(len(h), 3, dtype=h.dtype).index_add(0, graph.receivers, gates * graph.vectors)
        return Features(torch.cat((h, shift), dim=1))


def build_encoder(config: EncoderConfig, *, inputs: int, edge_inputs: int = 0, average_neighbors: float) -> ToyEncoder:
    return ToyEncoder(config, inputs, edge_inputs, average_neighbors)


class SamplerConfig(BaseModel):
    model_config = ConfigDict(extra="forbid")
    sigma_max: float = 20.0
    model: Literal["denoiser", "no encoder", "no process"] = "denoiser"
    rejects: bool = False


class ToySampler(Sampler):
    def __init__(self, config: SamplerConfig) -> None:
        self.config = config

    def build_model(self, encoder: EncoderBuilder, schema: Schema, statistics: Mapping[str, float]) -> nn.Module:
        process = Process("karras", statistics["sigma_data"], 0.01, self.config.sigma_max, {"species": Codec("masked")})
        if self.config.model == "no process":
            return nn.ModuleList([encoder(inputs=1, average_neighbors=1.0)])
        denoiser = Denoiser(encoder, schema, process, statistics["average_neighbors"])
        if self.config.model == "no encoder":
            denoiser.encoder = nn.Identity()
        return denoiser

    def accepts(self, process: Process) -> str | None:
        return "it never does" if self.config.rejects else None

    def objective(self, model: nn.Module, batch: Structures, streams: Streams) -> dict[str, Tensor]:
        return {"loss": torch.zeros(batch.n_structures)}

    def sample(self, model: nn.Module, request: Request, streams: Streams) -> Iterator[State]:
        yield from ()


def build_sampler(config: SamplerConfig) -> ToySampler:
    return ToySampler(config)


def migrate_encoder(config: dict, tensors: dict, from_version: int) -> tuple[dict, dict]:
    """Version 1 called the channels `width`, and the first layer `input`."""
    config["channels"] = config.pop("width")
    return config, {name.replace("input.", "embed."): tensor for name, tensor in tensors.items()}


def migrate_product(config: dict, tensors: dict, from_version: int) -> tuple[dict, dict]:
    """Version 1 had the gain's logarithm."""
    config.pop("logarithmic")
    return config, {name: t.exp() if name == "product.gain" else t for name, t in tensors.items()}


def model_path(config: BaseModel) -> Path:
    return Path("/models/toy.safetensors")
