"""What a plugin registers: a component, which is a name, a summary and strings that say where its code is.

A plugin's entry point module reads::

    from molgen.host.component import Capabilities, Component, hookimpl

    @hookimpl
    def molgen_register_encoders(register):
        register(Component(name="egnn", summary="…", factory="molgen_egnn.encoder:build"))

It imports nothing heavy: factory and config are resolved when the component is first used.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from typing import Final, Literal, get_args

import pluggy

from molgen.errors import PluginError
from molgen.host.reference import ComponentKind as ComponentKind
from molgen.host.reference import ComponentRef as ComponentRef

__all__ = ["API", "KINDS", "Capabilities", "Component", "ComponentKind", "ComponentRef", "Kind", "hookimpl"]

Kind = Literal["encoder", "tensor_product", "head", "sampler", "model", "metric", "dataset"]
KINDS: Final[tuple[str, ...]] = get_args(Kind)

API: Final = 1  # raised when a contract of `interfaces` or of this module changes so that old plugins break

hookimpl: Final = pluggy.HookimplMarker("molgen")

_NAME: Final = re.compile(r"[a-z0-9]+([._-][a-z0-9]+)*", re.ASCII)
_TARGET: Final = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")
_SYMMETRIES: Final = ("O3", "SO3", "approximate", "none")
_DTYPES: Final = ("float64", "float32", "bfloat16", "float16")
_DEVICES: Final = ("cpu", "cuda", "mps")


@dataclass(frozen=True, kw_only=True)
class Capabilities:
    """What a component promises; what is not claimed is not promised.

    >>> Capabilities(symmetry="O3", smooth=True, l_max=2, periodic=True).conservative
    False
    """

    symmetry: Literal["O3", "SO3", "approximate", "none"] = "none"  # under rotations, and reflections for O3
    smooth: bool = False  # energy, force and its derivative continuous in the positions
    l_max: int | None = None  # highest degree of the features; None where the word has no meaning
    dtypes: tuple[str, ...] = ("float32", "float64")
    devices: tuple[str, ...] = ("cpu", "cuda")
    periodic: bool = False  # takes graphs with cell shifts
    conservative: bool = False  # forces are derivatives of an energy
    double_backward: bool = False  # can be differentiated twice, as training on forces needs
    compile: bool = False  # goes through torch.compile as one graph
    conditional: bool = False  # takes property targets
    decomposable: bool = False  # right on a part of the atoms with exchanged ghosts; not for global attention

    def __post_init__(self) -> None:
        if self.symmetry not in _SYMMETRIES:
            raise PluginError(f"symmetry is {self.symmetry!r}", expected=f"one of {', '.join(_SYMMETRIES)}")
        for name, value, valid in (("dtypes", self.dtypes, _DTYPES), ("devices", self.devices, _DEVICES)):
            if not isinstance(value, tuple) or not value or not set(value) <= set(valid):
                raise PluginError(f"{name} is {value!r}", expected=f"a tuple of some of {', '.join(valid)}")
        if self.l_max is not None and not (_is_integer(self.l_max) and self.l_max >= 0):
            raise PluginError(f"l_max is {self.l_max!r}", expected="an integer from 0, or None")
        for field in fields(self):
            if field.type == "bool" and not isinstance(getattr(self, field.name), bool):
                raise PluginError(f"{field.name} is {getattr(self, field.name)!r}", expected="True or False")


@dataclass(frozen=True, kw_only=True)
class Component:
    """One thing that a plugin offers. Its id is `distribution:name`.

    Args:
        name: short name, lower-case letters, digits and `-`, `_`, `.` between them.
        summary: one line for listings.
        factory: `"package.module:name"` of a callable `(config, **what the kind's contract names)`.
        config: `"package.module:name"` of a pydantic model with `extra="forbid"`; None where there are no options.
        cite: the paper, as one line.
        capabilities: what it promises.
        api: the host API that it was written for.
        version: of its options and tensors; raised when a checkpoint of the former version no longer fits.
        migrate: `"package.module:name"` of a callable `(config: dict, tensors: dict, from_version: int) ->
            (config, tensors)` that brings what an older version wrote up to `version`.
        aliases: further short names.

    Raises:
        PluginError: a field that can't be used.

    >>> Component(name="egnn", summary="E(n) equivariant", factory="molgen_egnn.encoder:build").version
    1
    """

    name: str
    summary: str
    factory: str
    config: str | None = None
    cite: str = ""
    capabilities: Capabilities = Capabilities()
    # Literally 1 and not `API`: a plugin that states nothing was written for the first API, whatever this host speaks.
    api: int = 1
    version: int = 1
    migrate: str | None = None
    aliases: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        where = f"component {self.name!r}"
        if not isinstance(self.aliases, tuple):
            raise PluginError(f"aliases is {self.aliases!r}", where=where, expected="a tuple of names")
        for name in (self.name, *self.aliases):
            if not isinstance(name, str) or not _NAME.fullmatch(name):
                raise PluginError(
                    f"its name {name!r} can't be used", where=where, expected="a name like 'pair-attention'"
                )
        for field in ("factory", "config", "migrate"):
            target = getattr(self, field)
            if target is None and field != "factory":
                continue
            if not isinstance(target, str) or not _TARGET.fullmatch(target):
                raise PluginError(f"{field} is {target!r}", where=where, expected="a string 'package.module:name'")
        for field in ("summary", "cite"):
            if not isinstance(getattr(self, field), str):
                raise PluginError(f"{field} is {getattr(self, field)!r}", where=where, expected="one line of text")
        for field in ("api", "version"):
            if not _is_integer(getattr(self, field)) or getattr(self, field) < 1:
                raise PluginError(f"{field} is {getattr(self, field)!r}", where=where, expected="an integer from 1")
        if not isinstance(self.capabilities, Capabilities):
            raise PluginError(f"capabilities is {self.capabilities!r}", where=where, expected="a Capabilities")


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
