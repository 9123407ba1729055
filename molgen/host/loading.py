"""Loads one plugin in isolation: whatever it does, the outcome is a status and, if all is well, its components."""

from __future__ import annotations

import sys
import time
import traceback
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from typing import Final, Literal

from molgen.errors import MolgenError
from molgen.host.collecting import Collected, IncompatibleError, collect
from molgen.host.component import Component
from molgen.host.discovery import Found

__all__ = ["LoadedPlugin", "PluginStatus", "blocked", "load_plugin", "refused"]

_LONGEST_REASON: Final = 300  # characters; what a plugin raises may be pages long


@dataclass(frozen=True)
class PluginStatus:
    """How one plugin fared.

    `loaded`: its components can be used. `blocked`: left out by MOLGEN_PLUGINS, not imported. `incompatible`: written
    for another API. `failed`: it raised, or registered what can't be used.
    """

    id: str  # "distribution:entry point"
    version: str  # of the distribution
    status: Literal["loaded", "blocked", "incompatible", "failed"]
    reason: str | None = None  # one line; None where loaded
    remedy: str | None = None  # what to do about it; None where loaded
    components: tuple[str, ...] = ()  # "kind name" each; where not loaded, those that it was seen to register
    seconds: float = 0.0  # that its import took
    traceback: str | None = None  # of the exception that stopped it

    @property
    def distribution(self) -> str:
        """The distribution's name, in its canonical spelling."""
        return self.id.partition(":")[0]


@dataclass(frozen=True)
class LoadedPlugin:
    """A status, the components to commit (none unless loaded), and the exception that stopped it."""

    status: PluginStatus
    components: tuple[tuple[str, Component], ...] = ()  # kind and component
    error: BaseException | None = None


def blocked(found: Found) -> LoadedPlugin:
    """The outcome for a plugin that MOLGEN_PLUGINS leaves out."""
    remedy = f"add {found.distribution} to MOLGEN_PLUGINS, or unset it"
    return LoadedPlugin(PluginStatus(found.id, found.version, "blocked", "MOLGEN_PLUGINS leaves it out", remedy))


def refused(plugin: LoadedPlugin, reason: str, remedy: str | None = None) -> LoadedPlugin:
    """The same plugin, failed for this reason, with nothing to commit."""
    remedy = remedy or _update(plugin.status.distribution)
    return LoadedPlugin(replace(plugin.status, status="failed", reason=reason, remedy=remedy), error=plugin.error)


def load_plugin(found: Found) -> LoadedPlugin:
    """Import a plugin and collect what it registers. Raises nothing, KeyboardInterrupt apart."""
    status = PluginStatus(found.id, found.version, "loaded")
    if found.problem is not None or found.entry_point is None:
        return refused(LoadedPlugin(status), found.problem or "it has no entry point")
    collected = Collected()
    started = time.perf_counter()
    imported: float | None = None
    try:
        # What a plugin prints while it is loaded must not end up in the data that a command writes to stdout.
        with redirect_stdout(sys.stderr):
            plugin = found.entry_point.load()
            imported = time.perf_counter()
            collect(plugin, collected)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # SystemExit too: a plugin never stops the host
        status = replace(
            status,
            status="incompatible" if isinstance(error, IncompatibleError) else "failed",
            reason=_reason(error, importing=imported is None),
            remedy=_remedy(error, found.distribution),
            traceback=traceback.format_exc(),
        )
        components: tuple[tuple[str, Component], ...] = ()
        failure: BaseException | None = error
    else:
        components, failure = tuple(collected.components), None
    seconds = (imported or time.perf_counter()) - started
    return LoadedPlugin(replace(status, components=collected.names(), seconds=seconds), components, failure)


def _reason(error: BaseException, *, importing: bool) -> str:
    if isinstance(error, MolgenError):
        reason = error.what if error.where is None else f"{error.what} ({error.where})"
        reason += f"; expected {error.expected}" if error.expected else ""
    else:
        stage = "its import raises" if importing else "its hook raises"
        reason = f"{stage} {type(error).__name__}: {error}"
    reason = " ".join(reason.split())
    return reason if len(reason) <= _LONGEST_REASON else f"{reason[:_LONGEST_REASON]}…"


def _remedy(error: BaseException, distribution: str) -> str:
    if isinstance(error, MolgenError) and error.remedy:
        return error.remedy
    if isinstance(error, ModuleNotFoundError) and error.name:
        return f"install the module {error.name!r} that it needs, or remove it: pip uninstall {distribution}"
    return _update(distribution)


def _update(distribution: str) -> str:
    return f"update {distribution}, or remove it: pip uninstall {distribution}"
