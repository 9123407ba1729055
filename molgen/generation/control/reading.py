"""The controls of a request, read and checked against the model before the first step."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from molgen.errors import RequestError
from molgen.generation.control.composition import Composition
from molgen.generation.control.controls import Controls
from molgen.generation.control.guidance import Guide
from molgen.generation.control.scaffold import Scaffold
from molgen.generation.request import AtomCounts, atom_limits, draw_sizes
from molgen.interfaces import Schema

if TYPE_CHECKING:
    from molgen.generation.control.guidance import GuideGiven

__all__ = ["controlled_sizes", "read_controls"]


def read_controls(
    module: nn.Module,
    schema: Schema,
    device: torch.device,
    *,
    composition: object = None,
    scaffold: object = None,
    guide: GuideGiven | None = None,
    guidance: float | None = None,
) -> Controls:
    """What the request fixes.

    Args:
        module: of the model.
        schema: of the model.
        device: where potentials that guide compute.
        composition: as `Composition.read` takes it.
        scaffold: as `Scaffold.read` takes it.
        guide: as `Guide` takes it.
        guidance: the guide's weight; 1 if left out.

    Raises:
        RequestError: what can't be met; a weight without a guide.
        FileFormatError, CheckpointError, PluginError: what can't be read.
    """
    if guide is None and guidance is not None:
        raise RequestError("there is a weight, and nothing that guides", where="guidance", remedy="set guide")
    controls = Controls(
        None if composition is None else Composition.read(composition, schema),
        None if scaffold is None else Scaffold.read(scaffold, schema),  # type: ignore[arg-type]
        None if guide is None else Guide(guide, 1.0 if guidance is None else guidance, device),
    )
    controls.check(module)
    return controls


def controlled_sizes(controls: Controls, schema: Schema, n: int, *, seed: int, n_atoms: AtomCounts = None) -> Tensor:
    """[n] int64, atoms of each molecule: those of the composition, and enough for the substructure.

    Raises:
        RequestError: as `draw_sizes`; atom counts that are not those of the composition.
    """
    composition, scaffold = controls.composition, controls.scaffold
    if composition is not None:
        low, high = atom_limits(n_atoms) or (composition.n_atoms,) * 2
        if not low <= composition.n_atoms <= high:
            raise RequestError(
                f"{composition.formula} has {composition.n_atoms} atoms, and {low} to {high} are asked for",
                where="n_atoms",
                remedy="leave it out",
            )
        n_atoms = composition.n_atoms
    return draw_sizes(schema, n, seed=seed, n_atoms=n_atoms, at_least=1 if scaffold is None else len(scaffold))
