"""Write the tables of options in the plugins' READMEs from the models that check the options.

python scripts/option_tables.py

A README marks the place of a table by the import path of the model, and this script fills it:

<!-- options of molgen_egnn.config:EGNNConfig -->
<!-- end of options -->
"""

from __future__ import annotations

import importlib
import re
from pathlib import Path

from pydantic import BaseModel

from molgen.atomic import write_atomically
from molgen.host.option_list import list_options

_PLACE = re.compile(
    r"(?P<head><!-- options of (?P<model>[\w.]+:\w+) -->\n)(?P<table>.*?)(?P<foot><!-- end of options -->)", re.S
)


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
    rows = []
    for option in list_options(model):
        description = option.description.replace("|", "\\|")  # a bar would end the cell
        rows.append(f"| `{option.name}` | {option.values} | {option.default} | {description} |")
    return "\n".join(["| option | values | default | what it is |", "|---|---|---|---|", *rows, ""])


if __name__ == "__main__":
    main()
