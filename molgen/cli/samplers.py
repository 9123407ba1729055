"""`molgen samplers`: the samplers that installed plugins register, and their options."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from molgen.cli.compare import compare
from molgen.cli.options import STDOUT, Json, write_json

if TYPE_CHECKING:
    from molgen.host import Resolved
    from molgen.host.option_list import Option

__all__ = ["app"]

app = typer.Typer(
    help="Samplers: what is installed, with which options, and how they compare on a model.",
    invoke_without_command=True,
)
app.command("compare")(compare)


@app.callback()
def _alone(context: typer.Context, json: Json = None) -> None:
    if context.invoked_subcommand is None:
        list_samplers(json)


@app.command("list")
def list_samplers(json: Json = None) -> None:
    """List the installed samplers: the names that `generate --sampler` takes, and the options of each."""
    from molgen.errors import PluginError
    from molgen.host.option_list import list_options
    from molgen.host.registry import registry

    found: list[tuple[Resolved, list[Option], str | None]] = []
    for each in registry().components("sampler"):
        try:
            found.append((each, list_options(each.config_model()), None))
        except PluginError as error:  # one broken plugin leaves the others to be listed
            found.append((each, [], str(error)))
    if json is not None:
        write_json(json, [_data(*sampler) for sampler in found])
    if json == STDOUT:
        return
    if not found:
        typer.echo("no sampler is registered; `molgen plugins` shows what is installed")
    for sampler in found:
        typer.echo(_text(*sampler))


def _data(each: Resolved, options: list[Option], problem: str | None) -> dict[str, Any]:
    component = each.component
    names = ("name", "values", "default", "description")
    return {
        "id": each.id,
        "name": component.name,
        "summary": component.summary,
        "cite": component.cite,
        "aliases": list(component.aliases),
        "options": [{name: _plain(getattr(option, name)) for name in names} for option in options],
        "problem": problem,
    }


def _text(each: Resolved, options: list[Option], problem: str | None) -> str:
    names = ", ".join((each.component.name, *each.component.aliases))
    lines = [f"{names}  ({each.id})", f"    {each.component.summary}"]
    if problem is not None:
        lines.append(f"    its options are not known: {problem}")
    rows = [
        (option.name, _plain(option.default), f"{option.description} [{_plain(option.values)}]") for option in options
    ]
    widths = [max((len(row[column]) for row in rows), default=0) for column in (0, 1)]
    lines += [f"      {row[0].ljust(widths[0])}  {row[1].ljust(widths[1])}  {row[2]}".rstrip() for row in rows]
    return "\n".join(lines)


def _plain(text: str) -> str:
    return text.replace("`", "")
