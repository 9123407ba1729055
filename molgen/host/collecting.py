"""Asks an imported plugin for its components, and judges what it registers.

pluggy takes in silence what is found here: a misspelt hook, a hook without mark or argument, junk, a name twice.
"""

from __future__ import annotations

from typing import Final

import pluggy

from molgen.errors import PluginError, nearest
from molgen.host import hookspecs
from molgen.host.component import API, KINDS, Component

__all__ = ["Collected", "IncompatibleError", "collect"]

_PREFIX: Final = "molgen_register_"
_HOOKS: Final = {f"{_PREFIX}{kind}s": kind for kind in KINDS}


class IncompatibleError(PluginError):
    """A component that was written for another API of the host."""


class Collected:
    """What a plugin registered so far, and the first thing that was wrong with it.

    Faults are kept, not raised: a plugin could catch the exception, and its further names would stay unknown.
    """

    def __init__(self) -> None:
        self.components: list[tuple[str, Component]] = []
        self.fault: PluginError | None = None
        self._taken: set[tuple[str, str]] = set()  # kind and name or alias

    def names(self) -> tuple[str, ...]:
        """`kind name` of each component, in the order in which they came."""
        return tuple(dict.fromkeys(f"{kind} {component.name}" for kind, component in self.components))

    def add(self, kind: str, component: object) -> None:
        """Take one component."""
        if not isinstance(component, Component):
            self._fault(PluginError(f"it registers a {type(component).__name__} as {kind}", expected="a Component"))
            return
        name = f"its {kind} {component.name!r}"
        if component.api != API:
            remedy = "update molgen" if component.api > API else "update the plugin"
            self._fault(
                IncompatibleError(f"{name} speaks API {component.api}, this molgen speaks {API}", remedy=remedy)
            )
        names = {(kind, each) for each in (component.name, *component.aliases)}
        twice = names & self._taken
        if twice:
            self._fault(PluginError(f"it registers the {kind} {min(twice)[1]!r} twice"))
        self._taken |= names
        self.components.append((kind, component))

    def _fault(self, fault: PluginError) -> None:
        # Another API is the deeper cause: what else is wrong may be right there.
        if self.fault is None or (
            isinstance(fault, IncompatibleError) and not isinstance(self.fault, IncompatibleError)
        ):
            self.fault = fault


def collect(plugin: object, collected: Collected) -> None:
    """Call the plugin's hooks.

    Args:
        plugin: a module or object with functions marked `@hookimpl`.
        collected: takes the components; also holds what came before an exception.

    Raises:
        PluginError: a hook that the host doesn't know, or nothing to call.
        Exception: whatever a hook raises.
    """
    # A manager of its own for each plugin: pluggy stops at the first implementation that raises.
    manager = pluggy.PluginManager("molgen")
    manager.add_hookspecs(hookspecs)
    unmarked = [
        name
        for name in dir(plugin)
        if name.startswith(_PREFIX) and manager.parse_hookimpl_opts(plugin, name) is None  # type: ignore[arg-type]
    ]
    if unmarked:
        raise PluginError(
            f"{unmarked[0]} is not marked as a hook", remedy="mark it with molgen.host.component.hookimpl"
        )
    try:
        manager.register(plugin)
    except pluggy.PluginValidationError as error:
        cause = " ".join(str(error).split())
        raise PluginError(f"a hook of it can't be called: {cause}", expected="one argument named 'register'") from error
    callers = manager.get_hookcallers(plugin) or []
    if not callers:
        raise PluginError("it implements no hook", expected=f"a function marked @hookimpl, like {_PREFIX}encoders")
    for caller in callers:
        if caller.spec is None and not all(each.optionalhook for each in caller.get_hookimpls()):
            raise PluginError(f"it implements the unknown hook {caller.name!r}", remedy=nearest(caller.name, _HOOKS))
        if any("register" not in each.argnames for each in caller.get_hookimpls() if caller.spec is not None):
            raise PluginError(f"its hook {caller.name} takes no argument named 'register'")
    for hook, kind in _HOOKS.items():

        def register(component: Component, kind: str = kind) -> None:
            collected.add(kind, component)

        try:
            getattr(manager.hook, hook)(register=register)
        except Exception as error:
            error.add_note(f"while {hook} was called")
            raise
    if collected.fault is not None:
        raise collected.fault
