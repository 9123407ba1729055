"""The contract of samplers: how a generator is trained, and how molecules are drawn from it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Literal

from torch import Tensor, nn

from molgen.interfaces.encoder import EncoderBuilder
from molgen.random import Streams
from molgen.structures import Structures

__all__ = ["Codec", "Process", "Request", "Sampler", "Schema", "State"]


@dataclass(frozen=True)
class Schema:
    """What a generator's molecules are made of; stored in its checkpoint."""

    elements: tuple[int, ...]  # vocabulary, atomic numbers
    size_counts: Mapping[int, int]  # how many molecules of the data have n atoms
    formal_charges: tuple[int, ...] = ()  # vocabulary; empty where the model leaves charges to perception
    bond_orders: tuple[int, ...] = ()  # vocabulary without "none"; empty where bonds are left to perception
    conditions: tuple[str, ...] = ()  # names of the properties that it was trained on
    manifolds: Mapping[str, str] = field(default_factory=lambda: {"positions": "euclidean-centred"})

    def as_dict(self) -> dict:
        """Plain data for JSON."""
        return asdict(self) | {"size_counts": {str(k): v for k, v in self.size_counts.items()}}

    @classmethod
    def from_dict(cls, data: Mapping) -> Schema:
        """The inverse of `as_dict`."""
        return cls(
            elements=tuple(data["elements"]),
            size_counts={int(k): int(v) for k, v in data["size_counts"].items()},
            formal_charges=tuple(data["formal_charges"]),
            bond_orders=tuple(data["bond_orders"]),
            conditions=tuple(data["conditions"]),
            manifolds=dict(data["manifolds"]),
        )


@dataclass(frozen=True)
class Codec:
    """How a discrete part becomes something that noise can blur.

    `gaussian`: one-hot times `scale`, noised like a coordinate of the same σ. `masked`: hidden with probability
    m(σ) = clip((ln σ − ln a)/(ln b − ln a), 0, 1).
    """

    kind: Literal["gaussian", "masked"]
    scale: float = 1.0  # gaussian
    a: float = 0.05  # Å, masked: nothing is hidden below
    b: float = 5.0  # Å, masked: everything is hidden above


@dataclass(frozen=True)
class Process:
    """What function of (x̃, σ) a checkpoint has learned; samplers read it to know whether they can invert it."""

    parametrisation: Literal["karras", "edm"]
    sigma_data: float  # Å, measured standard deviation of a coordinate
    sigma_min: float  # Å
    sigma_max: float  # Å
    codecs: Mapping[str, Codec]  # by part: "species", later "bonds" and "formal_charges"
    coupling: Literal["independent", "transport"] = "independent"
    perturbation: str = "gaussian"  # or "pfgm:D"
    target: Literal["posterior-mean", "consistency"] = "posterior-mean"
    self_conditioning: bool = False

    def as_dict(self) -> dict:
        """Plain data for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping) -> Process:
        """The inverse of `as_dict`."""
        return cls(**dict(data) | {"codecs": {k: Codec(**v) for k, v in data["codecs"].items()}})


@dataclass(frozen=True, eq=False)
class Request:
    """The molecules of one planned batch; planned from the user's request alone."""

    n_atoms: Tensor  # [B] int64
    n_steps: int
    seed: int
    indices: Tensor  # [B] int64, number of each molecule in the whole run
    options: Mapping[str, object] = field(default_factory=dict)  # composition, scaffold, guide: True where fixed


@dataclass(frozen=True, eq=False)
class State:
    """Where sampling stands after a step. The structures may change in number of atoms from step to step."""

    structures: Structures
    step: int  # steps done, 0 … n_steps
    n_steps: int
    noise_level: Tensor  # [B] Å
    finished: Tensor  # [B] bool


class Sampler:
    """Base class of samplers. A factory makes one: `(config) -> Sampler`."""

    def process(self, statistics: Mapping[str, float]) -> Process:
        """What the host's Denoiser learns with this sampler.

        Args:
            statistics: measured of the training data: `sigma_data` Å, `average_neighbors`.
        """
        raise TypeError(f"{type(self).__name__} defines neither process nor build_model")

    def build_model(self, encoder: EncoderBuilder, schema: Schema, statistics: Mapping[str, float]) -> nn.Module | None:
        """A network of the sampler's own, or None for the host's Denoiser of `process(statistics)`.

        Args:
            encoder: builds the encoder once the number of its inputs is known.
            schema: what the molecules are made of.
            statistics: as of `process`.

        Returns:
            A module that holds the encoder as a submodule and says what it learned as `.process`, a `Process`.
        """
        return None

    def accepts(self, process: Process) -> str | None:
        """None where this sampler can invert the process, or the reason why not."""
        raise TypeError(f"{type(self).__name__} does not define accepts")

    def objective(self, model: nn.Module, batch: Structures, streams: Streams) -> dict[str, Tensor]:
        """`loss` and its named parts, each [B]."""
        raise TypeError(f"{type(self).__name__} does not define objective")

    def sample(self, model: nn.Module, request: Request, streams: Streams) -> Iterator[State]:
        """States from noise to molecules; the last one has every structure finished."""
        raise TypeError(f"{type(self).__name__} does not define sample")
