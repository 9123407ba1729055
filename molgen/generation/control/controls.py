"""`Controls`: what is fixed of a run's molecules, put on the estimates of any model of the host's kind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor, nn

from molgen.errors import RequestError
from molgen.generation.control.composition import Composition, assign, balance
from molgen.generation.control.guidance import Guide
from molgen.generation.control.scaffold import Scaffold
from molgen.interfaces import Denoised, Noisy
from molgen.models.denoiser import Denoiser
from molgen.nn import GaussianCodec, MaskedCodec, centre
from molgen.random import Streams
from molgen.structures import Structures

__all__ = ["Controlled", "Controls"]

# of the one-hot's size: noise below which a gaussian codec's elements are settled
_SETTLED: Final = 0.5
# in fewer steps than these the last estimate may come at any noise
_FEW: Final = 5


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
        both = self.composition is not None and self.scaffold is not None
        if both and not self.composition.holds(self.scaffold.counts):  # type: ignore[union-attr]
            whole, part = self.composition, Composition(self.scaffold.counts)  # type: ignore[union-attr]
            raise RequestError(
                f"{whole.formula} does not hold the substructure {part.formula}",  # type: ignore[union-attr]
                where="composition",
            )

    def on(self, module: nn.Module, n_atoms: Tensor, n_steps: int, streams: Streams) -> nn.Module:
        """The model of one batch, held to them."""
        return Controlled(module, self, n_atoms, n_steps, streams) if self else module  # type: ignore[arg-type]

    @property
    def record(self) -> dict[str, Any]:
        """What is fixed, as `run.json` holds it."""
        record: dict[str, Any] = {}
        if self.composition is not None:
            record["composition"] = self.composition.formula
        if self.scaffold is not None:
            part = Composition(self.scaffold.counts)
            record["scaffold"] = {
                "formula": part.formula,
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

    Positions of a substructure are replaced by its own geometry, turned to lie nearest to them: the estimate's
    projection on what is allowed, to which the last step comes exactly. Elements of a composition are drawn jointly,
    without replacement, so that what a sampler shows of them always fits; where they are blurred, not hidden, their
    means are balanced to it, and chosen jointly when the noise on them is low.

    Args:
        model: the denoiser.
        controls: what to obey.
        n_atoms: [B] of the batch.
        n_steps: of the sampler.
        streams: of the batch.
    """

    def __init__(self, model: Denoiser, controls: Controls, n_atoms: Tensor, n_steps: int, streams: Streams) -> None:
        super().__init__()
        self.model, self.controls, self.streams = model, controls, streams
        self._n_atoms, self._n_steps = n_atoms, n_steps
        self._calls = 0
        device, size = n_atoms.device, len(model.schema.elements)
        self._fixed = torch.zeros(int(n_atoms.sum()), dtype=torch.bool, device=device)
        self._codes = torch.zeros(len(self._fixed), dtype=torch.int64, device=device)
        scaffold, composition = controls.scaffold, controls.composition
        if scaffold is not None:
            places = scaffold.places(n_atoms)
            self._fixed[places] = True
            self._codes[places] = model.encode_species(scaffold.species.to(device)).repeat(len(n_atoms))
        self._wanted = torch.zeros(size, dtype=torch.int64, device=device)
        if composition is not None:
            counts = [composition.counts.get(number, 0) for number in model.schema.elements]
            self._wanted = torch.tensor(counts, device=device)

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("model"), name)

    def forward(self, noisy: Noisy) -> Denoised:
        """The model's estimate, held to what is fixed."""
        denoised, structures = self.model(noisy), noisy.structures
        self._calls += 1
        species = self._species(denoised, noisy)
        positions = denoised.positions
        controls = self.controls
        if controls.guide is not None:
            believed = structures.replace(positions=positions, species=self.model.elements[species.argmax(1)])
            positions = controls.guide.moved(believed, noisy.sigma, self.model.process.sigma_data)
        if controls.scaffold is not None:
            positions = controls.scaffold.placed(positions, structures.n_atoms)
        if positions is not denoised.positions:
            positions = centre(positions, structures)
        return Denoised(positions, species, denoised.logits)

    def _species(self, denoised: Denoised, noisy: Noisy) -> Tensor:
        """[N, V]"""
        species, codec = denoised.species, self.model.codec
        one_hot = nn.functional.one_hot
        size = species.shape[1]
        if self.controls.scaffold is not None:
            certain = one_hot(self._codes, size).to(species.dtype)
            species = torch.where(self._fixed[:, None], certain, species)
        if self.controls.composition is None:
            return species
        batch = noisy.structures.batch
        settled, codes = self._fixed, self._codes
        if isinstance(codec, MaskedCodec):  # what shows stays
            shows = noisy.species < codec.size
            settled, codes = settled | shows, torch.where(settled, codes, noisy.species.clamp_max(size - 1))
        free = (~settled).nonzero()[:, 0]
        taken = one_hot(codes[settled], size)
        left = self._wanted.expand(len(self._n_atoms), size).clone().index_add_(0, batch[settled], -taken)
        chances = torch.nan_to_num(species[free]).clamp_min(1e-12)
        chances = balance(chances / chances.sum(1, keepdim=True), left, batch[free])
        if isinstance(codec, GaussianCodec):
            settles = float(noisy.sigma.max()) <= _SETTLED * codec.scale
            if not settles and self._n_steps >= _FEW:
                return species.index_copy(0, free, chances)
        scores = chances.double().log()
        if isinstance(codec, MaskedCodec):
            u = self.streams.uniform(
                "composition", step=self._calls, counts=self._n_atoms, width=size, dtype=torch.float64
            )
            scores = scores - torch.log(-torch.log(u[free]))
        drawn = one_hot(assign(scores, left, batch[free]), size).to(species.dtype)
        shown = one_hot(codes, size).to(species.dtype)
        return torch.where(settled[:, None], shown, species).index_copy(0, free, drawn)
