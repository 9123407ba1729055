"""Potentials by name: a path, or a name that a plugin registers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from molgen.models.checkpoint import read_checkpoint
from molgen.models.document import Document
from molgen.models.potential import Potential
from molgen.models.restoration import restore_potential
from molgen.models.zoo import find_model

__all__ = ["LoadedPotential", "load_potential"]


@dataclass(frozen=True, eq=False)
class LoadedPotential:
    """A trained potential, in evaluation mode, its weights frozen."""

    module: Potential
    document: Document
    path: Path | None = None  # of its file
    id: str | None = None  # distribution:name where it is registered


def load_potential(
    name_or_path: str | Path, *, device: torch.device | str = "cpu", dtype: torch.dtype | None = None
) -> LoadedPotential:
    """The potential of a file or of a registered name.

    Args:
        name_or_path: as `find_model` takes it.
        device: where it goes.
        dtype: of its weights; as in the file if left out.

    Raises:
        CheckpointError: no such file, an altered one, one of a generator, a component that is missing.
        PluginError: the name is unknown or ambiguous.
        ConfigError: a device that torch can't use.
    """
    located = find_model(name_or_path)
    checkpoint = read_checkpoint(located.path)
    return LoadedPotential(restore_potential(checkpoint, device, dtype), checkpoint.document, located.path, located.id)
