"""Why a component can't be had: the error that names the cause, the nearest name, or the plugin that is to blame."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from molgen.errors import AmbiguousComponentError, BrokenPluginError, PluginError, UnknownComponentError, nearest
from molgen.host.component import KINDS
from molgen.host.discovery import canonical
from molgen.host.loading import PluginStatus

if TYPE_CHECKING:
    from molgen.host.registry import Registry

__all__ = ["broken", "refusal"]

_LONGEST_NAME: Final = 80  # characters; names may come from a file that is not to be trusted


def broken(plugin: PluginStatus) -> BrokenPluginError:
    """The error for whoever needs a plugin that could not be loaded."""
    version = f" {plugin.version}" if plugin.version else ""
    what = f"plugin {plugin.id}{version} is {plugin.status}: {plugin.reason}"
    return BrokenPluginError(what, remedy=plugin.remedy)


def refusal(registry: Registry, kind: str, id: str) -> PluginError:
    """The error for an id that the registry can't resolve."""
    if kind not in KINDS:
        return UnknownComponentError(f"there is no kind of component {_quoted(kind)}", remedy=nearest(str(kind), KINDS))
    if not isinstance(id, str):
        return UnknownComponentError(f"{_quoted(id)} is no id of a {kind}", expected="a name, or 'distribution:name'")
    distribution, colon, name = id.rpartition(":")
    same = [each for each in registry.components(kind) if name in (each.component.name, *each.component.aliases)]
    if not colon and len(same) > 1:
        ids = " and ".join(each.id for each in same)
        return AmbiguousComponentError(
            f"the {kind} {name!r} is in {ids}", remedy=f"write one of them, like {same[0].id}"
        )
    out = [plugin for plugin in registry.plugins if plugin.status != "loaded"]
    owners = [plugin for plugin in out if _may_own(plugin, kind, canonical(distribution) if colon else None, name)]
    if owners:
        return broken(owners[0])
    return _unknown(registry, kind, id, out)


def _may_own(plugin: PluginStatus, kind: str, distribution: str | None, name: str) -> bool:
    if distribution is not None:
        return plugin.distribution == distribution
    # A plugin that was never imported has claimed nothing; by custom it is called after what it offers.
    return f"{kind} {name}" in plugin.components or name in (plugin.id.partition(":")[2], plugin.distribution)


def _unknown(registry: Registry, kind: str, id: str, out: list[PluginStatus]) -> UnknownComponentError:
    known = registry.components(kind)
    names = {name for each in known for name in (each.component.name, *each.component.aliases)}
    remedies = [nearest(id, {each.id for each in known} if ":" in id else names)]
    if not known:
        remedies.append(f"no installed plugin registers a {kind}; see `molgen plugins`")
    others = [each for each in KINDS if each != kind and _registers(registry, each, id)]
    if others:
        remedies.append(f"it is a {others[0]}")
    if out:
        causes = ", ".join(f"{plugin.id} ({plugin.status}: {plugin.reason})" for plugin in out)
        remedies.append(f"it may belong to a plugin that is not loaded: {causes}; see `molgen plugins`")
    remedy = "; ".join(remedy for remedy in remedies if remedy)
    return UnknownComponentError(f"unknown {kind} {_quoted(id)}", remedy=remedy)


def _registers(registry: Registry, kind: str, id: str) -> bool:
    return any(id in (each.id, each.component.name, *each.component.aliases) for each in registry.components(kind))


def _quoted(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _LONGEST_NAME else f"{text[:_LONGEST_NAME]}…"
