"""`Controls`: what is fixed of a run's molecules, put on the estimates of any model of the host's kind."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from molgen.errors import RequestError
from molgen.generation.control.composition import Composition
from molgen.generation.control.guidance import Guide
from molgen.generation.control.scaffold import Scaffold
from molgen.interfaces import Denoised, Noisy
from molgen.models.denoiser import Denoiser
from molgen.nn import centre
from molgen.random import Streams
from molgen.structures import Structures

__all__ = ["Controlled", "Controls"]


@dataclass(frozen=True, eq=False)
class Controls:
    """What is fixed of all molecules of a run."""

    composition: Composition | None = None
    scaffold: Scaffold | None = None
    guide: Guide | None = None

    def __bool__(self) -> bool:
        return any(part is not None for part in (self.composition, self.scaffold, self.guide))

    def check(self, module: nn.Module) -> None:
        """Refuse what contradicts itself, and models of another kind.

        Raises:
            RequestError: the substructure is no part of the composition; a network that is not the host's.
        """
        if self and not isinstance(module, Denoiser):
            raise RequestError(
                "the model has a network of its own, which can't be held to a composition, substructure or guide",
                remedy="leave them out, or choose another model",
            )
        whole, part = self.composition, self.scaffold
        if whole is not None and part is not None and not whole.holds(part.counts):
            raise RequestError(
                f"{whole.formula} does not hold the substructure {Composition(part.counts).formula}",
                where="composition",
            )

    def on(self, module: nn.Module, n_atoms: Tensor, streams: Streams) -> nn.Module:
        """The model of one batch, held to them."""
        return Controlled(module, self, n_atoms, streams) if self else module  # type: ignore[arg-type]

    @property
    def options(self) -> dict[str, object]:
        """What a sampler is told of them: names of what is fixed."""
        names = ("composition", "scaffold", "guide")
        return {name: True for name in names if getattr(self, name) is not None}

    @property
    def record(self) -> dict[str, Any]:
        """What is fixed, as `run.json` holds it."""
        record: dict[str, Any] = {}
        if self.composition is not None:
            record["composition"] = self.composition.formula
        if self.scaffold is not None:
            record["scaffold"] = {
                "formula": Composition(self.scaffold.counts).formula,
                "file": self.scaffold.source,
                "sha256": self.scaffold.sha256,
            }
        return record | ({} if self.guide is None else self.guide.record)

    def kept(self, structures: Structures) -> dict[str, list[bool]]:
        """By control, whether each molecule has what was asked for: measured, not assumed."""
        found: dict[str, list[bool]] = {}
        if self.composition is not None:
            found["composition_kept"] = [formula == self.composition.formula for formula in structures.formulas()]
        if self.scaffold is not None:
            found["scaffold_kept"] = self.scaffold.kept(structures)
        return found


class Controlled(nn.Module):
    """A denoiser whose estimates of one batch obey `controls`. Samplers use it as they use the denoiser itself.

    Elements that are known are dealt to the atoms at random before the first step, and known from then on: where noise
    hides everything, atoms of different elements don't differ, so that this is a draw from the conditional there.
    Positions of a substructure are replaced by its own geometry, turned to lie nearest to them: the estimate's
    projection on what is allowed, to which the last step comes exactly.

    Args:
        model: the denoiser.
        controls: what to obey.
        n_atoms: [B] of the batch.
        streams: of the batch.
    """

    def __init__(self, model: Denoiser, controls: Controls, n_atoms: Tensor, streams: Streams) -> None:
        super().__init__()
        self.model, self.controls = model, controls
        device, total = n_atoms.device, int(n_atoms.sum())
        self._known = torch.zeros(total, dtype=torch.bool, device=device)
        self._codes = torch.zeros(total, dtype=torch.int64, device=device)
        if controls.scaffold is not None:
            places = controls.scaffold.places(n_atoms)
            codes = model.encode_species(controls.scaffold.species.to(device))
            self._known[places], self._codes[places] = True, codes.repeat(len(n_atoms))
        if controls.composition is not None:
            part = {} if controls.scaffold is None else controls.scaffold.counts
            elements = torch.tensor(controls.composition.without(part), dtype=torch.int64, device=device)
            self._codes[~self._known] = _dealt(model.encode_species(elements), ~self._known, n_atoms, streams)
            self._known[:] = True

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("model"), name)

    def forward(self, noisy: Noisy) -> Denoised:
        """The model's estimate, held to what is fixed."""
        if noisy.species.dim() == 1:  # codes, hidden or not
            noisy = replace(noisy, species=torch.where(self._known, self._codes, noisy.species))
        denoised, structures = self.model(noisy), noisy.structures
        certain = nn.functional.one_hot(self._codes, denoised.species.shape[1]).to(denoised.species.dtype)
        species = torch.where(self._known[:, None], certain, denoised.species)
        positions = denoised.positions
        if self.controls.guide is not None:
            believed = structures.replace(positions=positions, species=self.model.elements[species.argmax(1)])
            positions = self.controls.guide.moved(believed, noisy.sigma, self.model.process.sigma_data)
        if self.controls.scaffold is not None:
            positions = self.controls.scaffold.placed(positions, structures.n_atoms)
        if positions is not denoised.positions:
            positions = centre(positions, structures)
        return Denoised(positions, species, denoised.logits)


def _dealt(codes: Tensor, free: Tensor, n_atoms: Tensor, streams: Streams) -> Tensor:
    """[F] the codes [F / B] of each molecule in a random order, for the atoms that are free, [N] bool."""
    chance = streams.uniform("composition", counts=n_atoms, dtype=torch.float64)[free, 0]
    return codes[chance.view(len(n_atoms), -1).argsort(dim=1)].reshape(-1)
