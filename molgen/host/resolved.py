"""A component that was found: its options, its objects, and what went wrong where its plugin's promise doesn't hold."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from molgen.errors import BrokenPluginError, CheckpointError
from molgen.host.component import Component

if TYPE_CHECKING:
    from pydantic import BaseModel

    from molgen.host.registry import Registry

__all__ = ["Resolved"]

# What a factory of each kind must return; kinds whose contract is a plain callable are not here.
_PRODUCTS: Final = {
    "encoder": "molgen.interfaces.encoder:Encoder",
    "tensor_product": "molgen.interfaces.tensor_product:TensorProduct",
    "head": "molgen.interfaces.head:Head",
    "sampler": "molgen.interfaces.sampler:Sampler",
    "model": "pathlib:Path",
    "dataset": "pathlib:Path",
}


@dataclass(frozen=True)
class Resolved:
    """A component with the distribution that registered it. Its strings are resolved when they are first needed."""

    kind: str
    component: Component
    distribution: str
    distribution_version: str
    registry: Registry = field(repr=False, compare=False)  # where components nested in its config are looked up

    @property
    def id(self) -> str:
        """`distribution:name`, valid for ever."""
        return f"{self.distribution}:{self.component.name}"

    def config_model(self) -> type[BaseModel]:
        """The pydantic model of its options.

        Raises:
            BrokenPluginError: it can't be imported, or is no model that refuses unknown keys.
        """
        from molgen.host.config import NoOptions, flaw

        if self.component.config is None:
            return NoOptions
        model = self._load("config", self.component.config)
        problem = flaw(model)
        if problem:
            raise self._broken(f"its config {self.component.config} {problem}")
        return model

    def make_config(self, config: Mapping[str, Any] | BaseModel | None = None, *, where: str = "config") -> BaseModel:
        """Validated options with every default filled in.

        Args:
            config: the options, nested as in YAML; None for the defaults.
            where: key path of `config`, for messages.

        Raises:
            ConfigError: an unknown key, a wrong type, a missing option; names the key path.
            PluginError: a nested component that is unknown, ambiguous or broken; names the key path.
        """
        from molgen.host.config import validate

        return validate(self.config_model(), {} if config is None else config, where=where, registry=self.registry)

    def build(self, config: Mapping[str, Any] | BaseModel | None = None, **arguments: Any) -> Any:
        """The object, made by the plugin's factory.

        Args:
            config: the options, or what `make_config` returned.
            arguments: those that the kind's contract names, such as `inputs` of an encoder.

        Raises:
            ConfigError: options that can't be used.
            BrokenPluginError: the factory can't be imported, or returns something else than its kind.
        """
        options = self.make_config(config)
        product = self._load("factory", self.component.factory)(options, **arguments)
        expected = _PRODUCTS.get(self.kind)
        if expected is not None and not isinstance(product, _import(expected)):
            raise self._broken(
                f"its factory returns a {type(product).__name__}", expected=f"a {expected.split(':')[1]}"
            )
        return product

    def migrate(
        self, config: Mapping[str, Any], tensors: Mapping[str, Any], from_version: int
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Options and tensors that an older version of the component wrote, brought up to this one.

        Args:
            config: the recorded options.
            tensors: the recorded tensors by name, without the prefix of their place in the model.
            from_version: the component's version when they were written.

        Raises:
            CheckpointError: written by a newer version, or by one from which no way leads here.
        """
        where = f"{self.kind} {self.id}"
        if from_version == self.component.version:
            return dict(config), dict(tensors)
        expected = f"version {self.component.version} at most"
        if from_version > self.component.version:
            remedy = f"update {self.distribution}"
            raise CheckpointError(f"written by version {from_version}", where=where, expected=expected, remedy=remedy)
        if self.component.migrate is None:
            raise CheckpointError(
                f"written by version {from_version}, from which no migration to {self.component.version} exists",
                where=where,
                remedy=f"install the {self.distribution} that wrote it, or train again",
            )
        return self._load("migrate", self.component.migrate)(dict(config), dict(tensors), from_version)

    def _load(self, role: str, target: str) -> Any:
        try:
            return _import(target)
        except Exception as error:
            reason = f"its {role} {target} can't be imported: {type(error).__name__}: {error}"
            raise self._broken(" ".join(reason.split())) from error

    def _broken(self, reason: str, *, expected: str | None = None) -> BrokenPluginError:
        where = f"{self.kind} {self.id}, version {self.distribution_version}"
        return BrokenPluginError(reason, where=where, expected=expected, remedy=f"update {self.distribution}")


def _import(target: str) -> Any:
    module, _, name = target.partition(":")
    return getattr(importlib.import_module(module), name)
