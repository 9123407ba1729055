"""The model behind a calculator: found, put on its device in its dtype, its weights frozen."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from molgen.errors import ConfigError
from molgen.models.committee import Committee
from molgen.models.loading import LoadedPotential, load_potential
from molgen.models.potential import Potential

__all__ = ["Given", "Served", "dtype_named", "serve"]

_DTYPES = {"float32": torch.float32, "float64": torch.float64}

# what a calculator takes as a model; several make a committee
Given = str | Path | LoadedPotential | Potential | Committee


@dataclass(frozen=True, eq=False)
class Served:
    """A model that is ready to be evaluated, and where it came from."""

    module: Potential | Committee
    members: tuple[tuple[Potential, LoadedPotential | None], ...]  # each potential, and its file where there is one

    @property
    def name(self) -> str | list[str] | None:
        """What `molgen.Calculator` takes to serve it again; None for a model that has no file."""
        names = [_name(loaded) for _, loaded in self.members]
        if None in names:
            return None
        return names if isinstance(self.module, Committee) else names[0]  # type: ignore[return-value]

    @property
    def tensors_sha256(self) -> list[str]:
        """The hash of each member's tensors; empty for a model that has no file."""
        return [loaded.document.tensors_sha256 for _, loaded in self.members if loaded is not None]


def serve(model: Given | Sequence[Given], device: torch.device | str, dtype: torch.dtype | None) -> Served:
    """The model of a name, a path, a potential, or the committee of several of them.

    A potential in memory is used as it is if it is in evaluation mode, frozen, and on the device in the dtype; else a
    copy of it is, so that the one that was given stays as it was.

    Raises:
        CheckpointError, PluginError: as `load_potential`.
        ConfigError: a device that torch can't use, members that don't fit each other, something that is no model.
    """
    _check_device(device)
    if isinstance(model, Committee):
        model = list(model.members)  # type: ignore[arg-type]
    if isinstance(model, (list, tuple)):
        if not model:
            raise ConfigError("there is no model in the list", where="model", expected="at least one")
        members = tuple(_member(each, device, dtype, f"model.{number}") for number, each in enumerate(model))
        if len(members) == 1:
            return Served(members[0][0], members)
        return Served(Committee([potential for potential, _ in members]).eval(), members)
    member = _member(model, device, dtype, "model")  # type: ignore[arg-type]
    return Served(member[0], (member,))


def dtype_named(dtype: str | torch.dtype | None) -> torch.dtype | None:
    """The dtype of weights; None for that of the file.

    Raises:
        ConfigError: no dtype that a potential can compute in.
    """
    if dtype is None or dtype in _DTYPES.values():
        return dtype  # type: ignore[return-value]
    if isinstance(dtype, str) and dtype in _DTYPES:
        return _DTYPES[dtype]
    raise ConfigError(
        f"dtype is {dtype!r}", where="dtype", expected="float64, float32, or None for that which it was trained in"
    )


def _member(
    model: Given, device: torch.device | str, dtype: torch.dtype | None, where: str
) -> tuple[Potential, LoadedPotential | None]:
    if isinstance(model, (str, Path)):
        loaded = load_potential(model, device=device, dtype=dtype)
        return loaded.module, loaded
    if isinstance(model, LoadedPotential):
        return _ready(model.module, device, dtype), model
    if isinstance(model, Potential):
        return _ready(model, device, dtype), None
    raise ConfigError(
        f"a {type(model).__name__} is no potential",
        where=where,
        expected="the name of a registered model, the path of a model file, or a potential",
    )


def _ready(module: Potential, device: torch.device | str, dtype: torch.dtype | None) -> Potential:
    wanted = torch.empty(0, device=device).device  # with the number of a GPU, which "cuda" leaves open
    fits = module.device == wanted and dtype in (None, module.dtype)
    if fits and not _trains(module):
        return module
    return copy.deepcopy(module).to(device=wanted, dtype=dtype).eval().requires_grad_(False)


def _trains(module: nn.Module) -> bool:
    return any(each.training for each in module.modules()) or any(p.requires_grad for p in module.parameters())


def _name(loaded: LoadedPotential | None) -> str | None:
    if loaded is None:
        return None
    return loaded.id or (None if loaded.path is None else str(loaded.path))


def _check_device(device: torch.device | str) -> None:
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"the device {str(device)!r} can't be used: {reason}", remedy="choose cpu") from error
