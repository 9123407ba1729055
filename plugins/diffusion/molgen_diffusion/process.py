"""Which processes a sampler of Gaussian noise can invert."""

from __future__ import annotations

from molgen.interfaces import Process

__all__ = ["reason_against"]


def reason_against(process: Process, name: str) -> str | None:
    """None where `name` can draw from a checkpoint of this process, or the reason why not."""
    if process.coupling != "independent":
        return f"it was trained with {process.coupling} coupling, and {name} needs independent noise"
    if process.perturbation != "gaussian":
        return f"its perturbation is {process.perturbation}, and {name} inverts gaussian noise"
    if process.target != "posterior-mean":
        return f"it learned a {process.target} target, and {name} needs the posterior mean"
    if process.self_conditioning:
        return f"it expects its previous estimate as input, which {name} does not feed"
    return None
