"""What samplers of Gaussian noise learn, which processes they can invert, and between which noise levels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

from molgen.interfaces import Codec, Process

if TYPE_CHECKING:
    from molgen_diffusion.config import FlowConfig, KarrasConfig

__all__ = ["preconditioned", "reason_against", "shared_range"]


class _Range(Protocol):
    """Options that have a range of noise levels."""

    @property
    def sigma_min(self) -> float: ...
    @property
    def sigma_max(self) -> float: ...


def preconditioned(config: KarrasConfig | FlowConfig, statistics: Mapping[str, float]) -> Process:
    """What is learned with these options: the `karras` parametrisation with the measured σ_data."""
    return Process(
        parametrisation="karras",
        sigma_data=statistics["sigma_data"],
        sigma_min=config.sigma_min,
        sigma_max=config.sigma_max,
        codecs={"species": Codec(**config.codec.model_dump())},
    )


def reason_against(process: Process, name: str, config: _Range) -> str | None:
    """None where `name`, with these options, can draw from a checkpoint of this process, or the reason why not."""
    if process.coupling != "independent":
        return f"it was trained with {process.coupling} coupling, and {name} needs independent noise"
    if process.perturbation != "gaussian":
        return f"its perturbation is {process.perturbation}, and {name} inverts gaussian noise"
    if process.target != "posterior-mean":
        return f"it learned a {process.target} target, and {name} needs the posterior mean"
    if process.self_conditioning:
        return f"it expects its previous estimate as input, which {name} does not feed"
    low, high = shared_range(process, config)
    if low >= high:
        learned = f"{process.sigma_min:g} to {process.sigma_max:g} Å"
        return f"it learned noise of {learned}, and {name} is set to {config.sigma_min:g} to {config.sigma_max:g} Å"
    return None


def shared_range(process: Process, config: _Range) -> tuple[float, float]:
    """Å, smallest and largest noise of a sampler's options, cut to what was learned."""
    return max(config.sigma_min, process.sigma_min), min(config.sigma_max, process.sigma_max)
