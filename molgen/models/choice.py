"""A component that a config names: resolved, its options checked and defaulted, and recorded for a document."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from pydantic import BaseModel

from molgen.errors import ConfigError, PluginError
from molgen.host.component import ComponentRef
from molgen.host.registry import Registry, registry
from molgen.host.resolved import Resolved
from molgen.models.document import ComponentRecord, PartRecord

__all__ = ["Choice", "Named", "choose"]


class Named(Protocol):
    """Anything with an id and options: a `ComponentRef`, a section of a config, a `ComponentRecord`."""

    @property
    def use(self) -> str:
        """`distribution:name`, or the short name."""

    @property
    def config(self) -> Mapping[str, Any] | BaseModel:
        """The options that are set, or all of them."""


@dataclass(frozen=True)
class Choice:
    """A component with its options."""

    resolved: Resolved
    config: BaseModel
    where: str  # the key that names it, for messages

    def build(self, **arguments: Any) -> Any:
        """What its factory makes.

        Raises:
            ConfigError: options that can't work here, with the key.
        """
        try:
            return self.resolved.build(self.config, **arguments)
        except ConfigError as error:
            if error.where is not None and error.where.startswith(self.where):
                raise
            where = f"{self.where}.config" if error.where is None else f"{self.where}.config.{error.where}"
            raise ConfigError(error.what, where=where, expected=error.expected, remedy=error.remedy) from error

    def record(self, prefix: str = "") -> ComponentRecord:
        """What a document keeps of it; `prefix` is what the names of its tensors begin with."""
        return ComponentRecord(
            **_identity(self.resolved),
            config=self.config.model_dump(mode="json"),
            parts={
                path: PartRecord(kind=ref.kind, **_identity(ref.resolved)) for path, ref in _references(self.config)
            },
            prefix=prefix,
        )


def choose(kind: str, ref: Named | str, *, where: str | None = None, source: Registry | None = None) -> Choice:
    """The component that a reference names.

    Args:
        kind: "encoder", "sampler", …
        ref: an id, or anything with `use` and `config`.
        where: the key that names it, for messages; the kind if left out.
        source: where it is looked up; the registry of this process if left out.

    Raises:
        PluginError: it is unknown, ambiguous or broken.
        ConfigError: options that it doesn't take.
    """
    where = where or kind
    if isinstance(ref, ComponentRef):
        return Choice(ref.resolved, ref.config, where)  # type: ignore[arg-type]
    use, config = (ref, None) if isinstance(ref, str) else (ref.use, ref.config)
    try:
        resolved = (source or registry()).resolve(kind, use)
    except PluginError as error:
        place = error.where or f"{where}.use"
        raise type(error)(error.what, where=place, expected=error.expected, remedy=error.remedy) from error
    return Choice(resolved, resolved.make_config(config, where=f"{where}.config"), where)


def _identity(resolved: Resolved) -> dict[str, Any]:
    return {
        "use": resolved.id,
        "distribution_version": resolved.distribution_version,
        "component_version": resolved.component.version,
    }


def _references(value: object, path: str = "") -> Iterator[tuple[str, ComponentRef]]:
    """Every component inside options, however deep, with the path that its place has in their dump."""
    if isinstance(value, ComponentRef):
        yield path, value
        yield from _references(value.config, f"{path}.config")
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from _references(getattr(value, name), f"{path}.{name}" if path else name)
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _references(item, f"{path}.{key}")
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            yield from _references(item, f"{path}.{index}")
