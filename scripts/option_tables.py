"""Write the tables of options in the plugins' READMEs from the models that check the options.

python scripts/option_tables.py

A README marks the place of a table by the import path of the model, and this script fills it:

<!-- options of molgen_egnn.config:EGNNConfig -->
<!-- end of options -->
"""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from molgen.atomic import write_atomically

_PLACE = re.compile(
    r"(?P<head><!-- options of (?P<model>[\w.]+:\w+) -->\n)(?P<table>.*?)(?P<foot><!-- end of options -->)", re.S
)
_BOUNDS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
_NAMES = {"integer": "integer", "number": "number", "boolean": "true or false", "string": "text", "array": "list"}


def main() -> None:
    """Fill the tables of every plugin's README."""
    for path in sorted(Path(__file__).parents[1].glob("plugins/*/README.md")):
        text = path.read_text(encoding="utf-8")
        if filled(text) != text:
            write_atomically(path, filled(text))
            print(path)


def filled(text: str) -> str:
    """The text of a README with its tables as the models are now."""

    def table(place: re.Match[str]) -> str:
        module, _, name = place["model"].partition(":")
        return place["head"] + option_table(getattr(importlib.import_module(module), name)) + place["foot"]

    return _PLACE.sub(table, text)


def documented(text: str) -> set[str]:
    """The models whose options a README shows, as `package.module:name`."""
    return {place["model"] for place in _PLACE.finditer(text)}


def option_table(model: type[BaseModel]) -> str:
    """Markdown: a row per option, those of nested models by their key path."""
    schema = model.model_json_schema()
    rows = [f"| `{key}` | {kind} | {default} | {text} |" for key, kind, default, text in _rows(schema, schema, "")]
    return "\n".join(["| option | values | default | what it is |", "|---|---|---|---|", *rows, ""])


def _rows(part: Mapping[str, Any], root: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, str, str, str]]:
    for key, option in part["properties"].items():
        inner = _referred(option, root)
        if _is_component(option):
            name = option["default"]
            shown = f"`{name['use'] if isinstance(name, dict) else name}`"
            yield prefix + key, "an id, or `{use: id, config: {…}}`", shown, option.get("description", "")
        elif "properties" in inner:
            yield from _rows(inner, root, f"{prefix}{key}.")
        else:
            default = f"`{json.dumps(option['default'])}`" if "default" in option else "required"
            # a bar would end the cell
            yield prefix + key, _values(option, root), default, option.get("description", "").replace("|", "\\|")


def _is_component(option: Mapping[str, Any]) -> bool:
    """Whether an option names a component, by its id or with options of its own."""
    kinds = option.get("anyOf", [])
    return any(kind.get("required") == ["use"] for kind in kinds) and "default" in option


def _referred(option: Mapping[str, Any], root: Mapping[str, Any]) -> Mapping[str, Any]:
    """What an option is, where it is defined elsewhere in the schema."""
    return root["$defs"][option["$ref"].rpartition("/")[2]] if "$ref" in option else option


def _values(option: Mapping[str, Any], root: Mapping[str, Any]) -> str:
    """Which values an option takes, in words."""
    option = _referred(option, root)
    if "anyOf" in option:
        kinds = [_values(each, root) for each in option["anyOf"] if each.get("type") != "null"]
        return " or ".join([*kinds, "null"] if len(kinds) < len(option["anyOf"]) else kinds)
    if "enum" in option or "const" in option:
        return " or ".join(f"`{json.dumps(value)}`" for value in option.get("enum", [option.get("const")]))
    bounds = [f"{sign} {option[key]:g}" for key, sign in _BOUNDS.items() if key in option]
    return " ".join([_NAMES.get(option.get("type", ""), "any"), *([", ".join(bounds)] if bounds else [])])


if __name__ == "__main__":
    main()
