"""The registry: every component of every plugin that loaded, by id, and by short name while that is unique."""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

from molgen.errors import PluginError, nearest
from molgen.host.component import KINDS
from molgen.host.discovery import Found, canonical, find_plugins
from molgen.host.loading import LoadedPlugin, PluginStatus, blocked, load_plugin, refused
from molgen.host.refusal import broken, refusal
from molgen.host.resolved import Resolved

if TYPE_CHECKING:
    from pydantic import BaseModel

__all__ = ["Registry", "build", "plugins", "registry"]

_LOADING: Final = threading.local()


class Registry:
    """Components of all plugins; made by `Registry.discover`, or `registry()` for the one of this process."""

    def __init__(self, loaded: Iterable[LoadedPlugin]) -> None:
        self._by_id: dict[tuple[str, str], Resolved] = {}  # (kind, "distribution:name or alias")
        self._by_name: dict[tuple[str, str], list[Resolved]] = {}  # (kind, name or alias)
        self._loaded = [self._commit(plugin) for plugin in loaded]

    @classmethod
    def discover(cls, environment: Mapping[str, str] = os.environ) -> Registry:
        """Load every installed plugin, each in isolation.

        Args:
            environment: `MOLGEN_PLUGINS`, names of distributions with commas between, limits to them (empty: none);
                `MOLGEN_STRICT_PLUGINS=1` raises at the first plugin that can't be loaded.

        Raises:
            BrokenPluginError: in strict mode only.
            PluginError: a plugin asks for the registry while it is loaded.
        """
        if getattr(_LOADING, "active", False):
            raise PluginError(
                "the registry is asked for while plugins are loaded", remedy="ask for components inside factories only"
            )
        _LOADING.active = True
        try:
            made = cls(_load(find_plugins(), environment.get("MOLGEN_PLUGINS")))
        finally:
            _LOADING.active = False
        if environment.get("MOLGEN_STRICT_PLUGINS", "0") not in ("", "0"):
            made._require_all()
        return made

    @property
    def plugins(self) -> tuple[PluginStatus, ...]:
        """How each installed plugin fared, sorted by id."""
        return tuple(plugin.status for plugin in self._loaded)

    def components(self, kind: str) -> list[Resolved]:
        """All components of a kind, sorted by id."""
        found = {resolved.id: resolved for (each, _), resolved in self._by_id.items() if each == kind}
        return [found[id] for id in sorted(found)]

    def resolve(self, kind: str, id: str) -> Resolved:
        """The component of this id.

        Args:
            kind: one of `molgen.host.component.KINDS`.
            id: `distribution:name`, or the short name while only one distribution has it.

        Raises:
            UnknownComponentError: no plugin registers it; names the nearest, and the plugins that could not be loaded.
            AmbiguousComponentError: several distributions have the short name; names them.
            BrokenPluginError: its plugin could not be loaded; says why and what to do.
        """
        if kind in KINDS and isinstance(id, str):
            distribution, colon, name = id.rpartition(":")
            exact = self._by_id.get((kind, f"{canonical(distribution)}:{name}"))
            found = self._by_name.get((kind, id), []) if not colon else [exact] if exact else []
            if len(found) == 1:
                return found[0]
        raise refusal(self, kind, id)

    def _commit(self, plugin: LoadedPlugin) -> LoadedPlugin:
        """Take all components of a plugin, or none where one is taken by another entry point of its distribution."""
        status = plugin.status
        entries: dict[tuple[str, str], Resolved] = {}
        for kind, component in plugin.components:
            resolved = Resolved(kind, component, status.distribution, status.version, self)
            for name in (component.name, *component.aliases):
                entries[kind, f"{status.distribution}:{name}"] = resolved
        taken = sorted(entries.keys() & self._by_id.keys())
        if taken:
            kind, id = taken[0]
            return refused(plugin, f"another entry point of its distribution registers the {kind} {id!r}")
        self._by_id |= entries
        for (kind, id), resolved in entries.items():
            self._by_name.setdefault((kind, id.rpartition(":")[2]), []).append(resolved)
        return plugin

    def _require_all(self) -> None:
        for plugin in self._loaded:
            if plugin.status.status in ("failed", "incompatible"):
                raise broken(plugin.status) from plugin.error


@functools.cache
def registry() -> Registry:
    """The registry of this process; plugins are loaded at the first call.

    Raises:
        BrokenPluginError: in strict mode, MOLGEN_STRICT_PLUGINS=1.
    """
    return Registry.discover()


def plugins() -> list[PluginStatus]:
    """How each installed plugin fared: loaded, blocked, incompatible or failed, with the reason and the remedy.

    >>> import molgen
    >>> [plugin.id for plugin in molgen.plugins() if plugin.status == "failed"]
    []
    """
    return list(registry().plugins)


def build(kind: str, id: str, *, config: Mapping[str, Any] | BaseModel | None = None, **arguments: Any) -> Any:
    """Build a component of an installed plugin.

    Args:
        kind: "encoder", "tensor_product", "head", "sampler", "model", "metric" or "dataset".
        id: `distribution:name`, or the short name while it is unique.
        config: its options; None for the defaults.
        arguments: those that the kind's contract names (`molgen.interfaces`), such as `inputs` of an encoder.

    Raises:
        UnknownComponentError, AmbiguousComponentError, BrokenPluginError: no such component can be had.
        ConfigError: options that can't be used; names the key path and the nearest valid key.

    Example::

        molgen.build("encoder", "egnn", inputs=64, average_neighbors=12.0, config={"channels": 64, "layers": 4})
    """
    return registry().resolve(kind, id).build(config, **arguments)


def _load(found: list[Found], limit: str | None) -> list[LoadedPlugin]:
    if limit is None:
        return [load_plugin(each) for each in found]
    wanted = {canonical(name.strip()) for name in limit.split(",") if name.strip()}
    loaded = [load_plugin(each) if each.distribution in wanted else blocked(each) for each in found]
    installed = {each.distribution for each in found}
    absent = [PluginStatus(name, "", "failed") for name in sorted(wanted - installed)]
    reason = "MOLGEN_PLUGINS names it, but no such plugin is installed"
    return loaded + [refused(LoadedPlugin(each), reason, nearest(each.id, installed)) for each in absent]
