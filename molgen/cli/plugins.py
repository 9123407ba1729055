"""`molgen plugins`: what is installed, how it fared, and what to do about what failed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

from molgen.cli.options import STDOUT, Json, write_json

if TYPE_CHECKING:
    from molgen.host import PluginStatus

__all__ = ["plugins"]


def plugins(json: Json = None) -> None:
    """List the installed plugins: status, version, import time, components, and why one is not loaded."""
    from molgen.host.registry import plugins as statuses

    listed = statuses()
    if json is not None:
        write_json(json, [asdict(plugin) for plugin in listed])
    if json != STDOUT:
        typer.echo(_table(listed) if listed else "no plugin is installed; molgen's own are molgen-egnn and the like")


def _table(listed: Sequence[PluginStatus]) -> str:
    rows = [("plugin", "version", "status", "import", "components")]
    rows += [(each.id, each.version, each.status, f"{each.seconds:.3f} s", _components(each)) for each in listed]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    lines = []
    for row, plugin in zip(rows, [None, *listed], strict=True):
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        lines.append("  ".join([*cells, row[4]]).rstrip())
        if plugin is not None and plugin.reason:
            lines.append(f"    {plugin.reason}")
            lines.append(f"    to do: {plugin.remedy}")
    return "\n".join(lines)


def _components(plugin: PluginStatus) -> str:
    return ", ".join(plugin.components) if plugin.status == "loaded" else "-"
