"""`molgen models`: the trained models that installed plugins register."""

from __future__ import annotations

import typer

from molgen.cli.options import STDOUT, Json, write_json

__all__ = ["models"]


def models(json: Json = None) -> None:
    """List the registered models: the names that `generate` and `info` take."""
    from molgen.host.registry import registry

    found = registry().components("model")
    if json is not None:
        fields = ("name", "summary", "cite", "aliases")
        write_json(json, [{"id": each.id} | {name: getattr(each.component, name) for name in fields} for each in found])
    if json == STDOUT:
        return
    if not found:
        typer.echo("no model is registered; `molgen plugins` shows what is installed")
    for each in found:
        names = ", ".join((each.component.name, *each.component.aliases))
        typer.echo(f"{names}  ({each.id})\n    {each.component.summary}")
    broken = [plugin.id for plugin in registry().plugins if plugin.status not in ("loaded", "blocked")]
    if broken:
        typer.echo(f"not loaded: {', '.join(broken)}; `molgen plugins` says why", err=True)
