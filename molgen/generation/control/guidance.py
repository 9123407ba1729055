"""Guidance without training: what the model believes is moved down the slope of a function of the positions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import Tensor

from molgen.errors import RequestError
from molgen.structures import Structures

if TYPE_CHECKING:
    from molgen.models.committee import Committee
    from molgen.models.potential import Potential
    from molgen.simulation.serving import Given

    GuideGiven = Given | Sequence[Given] | Callable[[Structures], Tensor]

__all__ = ["Guide"]

_HIGHEST: Final = 0.5  # Å of noise; above, what is believed is no molecule yet
_FARTHEST: Final = 0.1  # Å, and half of the noise level: how far an atom is moved at most


class Guide:
    """A function of the positions that is to become small, such as the energy of a potential.

    Where noise of variance σ² hides data of variance σ_d², the posterior has about the variance
    v = σ² σ_d²/(σ² + σ_d²), and tilting it by exp(−w·E) moves its mean by −w·v·∇E (as in Bansal et al. 2023, universal
    guidance, whose gradient is taken at the clean estimate too). That is done from σ ≤ 0.5 Å on, where the estimate is
    a molecule, and no atom is moved by more than 0.1 Å or σ/2. Molecules with elements that a potential does not know
    are left to themselves.

    Args:
        given: a potential (the name of a registered one, the path of a file, itself, or several for their mean), or a
            function of `Structures` that returns [B] numbers, differentiable in their positions, in units of 1/weight.
        weight: w, in 1/eV for a potential.
        device: where potentials compute.

    Raises:
        RequestError: a weight that is not positive.
        CheckpointError, PluginError, ConfigError: no such potential, or none that can be used.
    """

    def __init__(self, given: GuideGiven, weight: float, device: torch.device) -> None:
        if not isinstance(weight, (int, float)) or isinstance(weight, bool) or not 0 < weight < float("inf"):
            raise RequestError(f"the guidance's weight is {weight!r}", where="guidance", expected="a number above zero")
        self.weight = float(weight)
        self.function: Callable[[Structures], Tensor] | None = None
        self.potential: Potential | Committee | None = None
        self.names: list[str] = []
        self.hashes: list[str] = []  # of potentials that have a file
        from molgen.models.potential import Potential

        if callable(given) and not isinstance(given, Potential) and not hasattr(given, "members"):
            self.function = given
            self.names = [getattr(given, "__name__", type(given).__name__)]
            return
        # simulations need ASE, which generating alone does not
        from molgen.simulation.serving import serve

        served = serve(given, device, None)  # type: ignore[arg-type]
        self.potential = served.module
        if not {"energy", "forces"} & self.potential.provides:
            raise RequestError("the potential tells neither energies nor forces", where="guide")
        self.hashes = served.tensors_sha256
        self.names = [type(each).__name__ if file is None else file.document.name for each, file in served.members]

    @property
    def record(self) -> dict[str, Any]:
        """What guides, as `run.json` holds it."""
        return {"guide": self.names, "guide_sha256": self.hashes, "guidance": self.weight}

    def moved(self, structures: Structures, sigma: Tensor, sigma_data: float) -> Tensor:
        """[N, 3] Å, the estimate's positions, moved where its noise is low enough.

        Args:
            structures: the estimate, with the elements that are believed.
            sigma: [B] Å.
            sigma_data: Å.

        Raises:
            RequestError: a function that gives something else than one number per structure, or has no gradient.
        """
        takes = (sigma <= _HIGHEST) & ~_holds(structures, ~torch.isfinite(structures.positions).all(1))  # [B]
        if self.potential is not None:
            elements = torch.tensor(sorted(self.potential.elements), device=sigma.device)
            takes &= ~_holds(structures, ~torch.isin(structures.species, elements))
        chosen = takes.nonzero()[:, 0]
        if not len(chosen):
            return structures.positions
        part = structures.select(chosen)
        uphill = self._uphill(part)
        level = sigma[chosen].double()
        variance = level.square() * sigma_data**2 / (level.square() + sigma_data**2)
        shift = -self.weight * variance[part.batch, None] * torch.nan_to_num(uphill.double(), 0.0, 0.0, 0.0)
        length = torch.linalg.vector_norm(shift, dim=1, keepdim=True)  # [n, 1]
        most = (0.5 * level).clamp_max(_FARTHEST)[part.batch, None]
        shift = shift * (most / length.clamp_min(1e-30)).clamp_max(1.0)
        members = torch.isin(structures.batch, chosen)
        positions = structures.positions.clone()
        positions[members] = positions[members] + shift.to(positions.dtype)
        return positions

    def _uphill(self, structures: Structures) -> Tensor:
        with torch.enable_grad(), torch.autocast(structures.positions.device.type, enabled=False):
            if self.potential is not None:
                return -self.potential(structures.replace(positions=structures.positions.double()))["forces"].detach()
            assert self.function is not None
            positions = structures.positions.detach().clone().requires_grad_(True)
            values = self.function(structures.replace(positions=positions))
            where, name = "guide", self.names[0]
            if not isinstance(values, Tensor) or values.shape != (len(structures),):
                found = tuple(values.shape) if isinstance(values, Tensor) else type(values).__name__
                raise RequestError(
                    f"{name} returned {found} for {len(structures)} structures",
                    where=where,
                    expected="a tensor of one number per structure",
                )
            if not values.requires_grad:
                raise RequestError(
                    f"what {name} returned does not depend on the positions differentiably",
                    where=where,
                    remedy="compute it of structures.positions with torch",
                )
            return torch.autograd.grad(values.sum(), positions)[0]


def _holds(structures: Structures, atoms: Tensor) -> Tensor:
    """[B] bool: the structure has one of the atoms that are marked, [N] bool."""
    return torch.zeros_like(structures.n_atoms).index_add_(0, structures.batch, atoms.long()) > 0
