"""The options of a component, one by one: which values each takes, which by default, and what it is."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from pydantic import BaseModel

__all__ = ["Option", "list_options"]

_BOUNDS: Final = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
_NAMES: Final = {
    "integer": "integer",
    "number": "number",
    "boolean": "true or false",
    "string": "text",
    "array": "list",
}


@dataclass(frozen=True)
class Option:
    """One option of a component; what is code in `values` and `default` stands between backquotes."""

    name: str  # key path, as schedule.kind
    values: str  # in words
    default: str
    description: str


def list_options(model: type[BaseModel]) -> list[Option]:
    """The options that a pydantic model checks, those of nested models by their key path.

    >>> from pydantic import BaseModel, Field
    >>> class Config(BaseModel):
    ...     layers: int = Field(4, ge=1, description="how many")
    >>> list_options(Config)
    [Option(name='layers', values='integer ≥ 1', default='`4`', description='how many')]
    """
    schema = model.model_json_schema()
    return list(_listed(schema, schema, ""))


def _listed(part: Mapping[str, Any], root: Mapping[str, Any], prefix: str) -> Iterator[Option]:
    for key, option in part.get("properties", {}).items():
        name, description = prefix + key, option.get("description", "")
        inner = _referred(option, root)
        if _is_component(option):
            given = option["default"]
            shown = f"`{given['use'] if isinstance(given, dict) else given}`"
            yield Option(name, "an id, or `{use: id, config: {…}}`", shown, description)
        elif "properties" in inner:
            yield from _listed(inner, root, f"{name}.")
        else:
            default = f"`{json.dumps(option['default'])}`" if "default" in option else "required"
            yield Option(name, _values(option, root), default, description)


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
