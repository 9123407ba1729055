"""Reads configs into pydantic models, and turns what pydantic finds wrong into one of molgen's own errors."""

from __future__ import annotations

import reprlib
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeVar, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError, PydanticUndefined

from molgen.errors import ConfigError, MolgenError, nearest
from molgen.host.reference import REGISTRY, ComponentKind

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

    from molgen.host.registry import Registry

__all__ = ["NoOptions", "config_error", "flaw", "nested_error", "translate", "validate"]

Path = tuple[int | str, ...]
Model = TypeVar("Model", bound=BaseModel)

_CARRIER: Final = "molgen"  # pydantic's name for an error that carries one of ours


class NoOptions(BaseModel):
    """The options of a component that has none."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def validate(
    model: type[Model], data: Mapping[str, Any] | BaseModel, *, where: str = "", registry: Registry | None = None
) -> Model:
    """A validated config.

    Args:
        model: what the config must be.
        data: as it was read from YAML or JSON.
        where: key path of `data`, for messages; empty for a whole file.
        registry: where components are looked up; by default the registry of this process.

    Raises:
        ConfigError: an unknown key, a wrong type, a value out of range; names the key path.
        PluginError: a component that is unknown, ambiguous or broken; names the key path.

    >>> validate(NoOptions, {"channels": 3}, where="encoder.config")
    Traceback (most recent call last):
    molgen.errors.ConfigError: unknown key 'channels' (encoder.config.channels); there are no options here
    """
    try:
        return model.model_validate(data, context={REGISTRY: registry} if registry is not None else None)
    except ValidationError as error:
        raise config_error(error, root=where, model=model) from error
    except MolgenError as error:  # a validator of a plugin that raises one of ours
        raise _located(error, _join(where, ())) from error


def config_error(error: ValidationError, root: str = "", model: type[BaseModel] | None = None) -> MolgenError:
    """The first of pydantic's findings as a ConfigError, or as the PluginError that a component caused.

    Args:
        error: as pydantic raised it.
        root: key path of what was validated.
        model: what was validated; with it an unknown key is answered with the nearest valid one.
    """
    problems = list(translate(error, model))
    path, first = problems[0]
    located = _located(first, _join(root, path))
    if len(problems) == 1:
        return located
    more = "1 more problem follows" if len(problems) == 2 else f"{len(problems) - 1} more problems follow"
    remedy = f"{located.remedy} ({more})" if located.remedy else more
    return type(located)(located.what, where=located.where, expected=located.expected, remedy=remedy)


def translate(error: ValidationError, model: type[BaseModel] | None = None) -> Iterator[tuple[Path, MolgenError]]:
    """Each finding: its path below what was validated, and the error without the path."""
    for detail in error.errors(include_url=False):
        path: Path = detail["loc"]
        carried = detail.get("ctx", {}).get("error")
        message = detail["msg"]
        if isinstance(carried, MolgenError):
            yield path, carried
        elif detail["type"] == "extra_forbidden":
            valid = _keys(model, path[:-1])
            remedy = "there are no options here" if valid == [] else nearest(str(path[-1]), valid or [])
            yield path, ConfigError(f"unknown key {reprlib.repr(path[-1])}", remedy=remedy)
        elif detail["type"] == "missing":
            yield path, ConfigError("a required key is missing", remedy=f"set {path[-1]}")
        elif detail["type"] == "value_error":
            yield path, ConfigError(message.removeprefix("Value error, "))
        else:
            expected = message.removeprefix("Input should be ")
            yield path, ConfigError(f"{reprlib.repr(detail['input'])} can't be used", expected=expected)


def nested_error(problems: Iterable[tuple[Path, MolgenError]]) -> ValidationError:
    """What a validator raises so that pydantic prefixes each path with that of the field, and keeps our error."""
    details = [
        InitErrorDetails(
            type=PydanticCustomError(_CARRIER, "{message}", {"message": str(error), "error": error}),
            loc=path,
            input=None,
        )
        for path, error in problems
    ]
    return ValidationError.from_exception_data("component", details)


def flaw(model: object) -> str | None:
    """What is wrong with the config model of a component; None where it is fit."""
    if not (isinstance(model, type) and issubclass(model, BaseModel)):
        return "is not a pydantic model"
    if model.model_config.get("extra") != "forbid":
        return 'takes unknown keys in silence; set extra="forbid" in its model_config'
    for name, field in model.model_fields.items():
        validated = field.validate_default or model.model_config.get("validate_default")
        if _names_component(field) and _has_default(field) and not validated:
            return f"does not validate the default of {name}; set validate_default=True in its Field"
    return None


def _has_default(field: FieldInfo) -> bool:
    if field.default_factory is not None:
        return field.default_factory not in (list, dict, tuple)  # what is empty names no component
    return field.default is not PydanticUndefined and bool(field.default)


def _names_component(field: FieldInfo) -> bool:
    def walk(annotation: Any) -> bool:
        return isinstance(annotation, ComponentKind) or any(walk(each) for each in get_args(annotation))

    return any(isinstance(each, ComponentKind) for each in field.metadata) or walk(field.annotation)


def _keys(model: Any, path: Path) -> list[str] | None:
    """The keys that are valid at a path below a model; None where that can't be told."""
    if isinstance(model, type) and issubclass(model, BaseModel):
        fields = {field.alias or name: field for name, field in model.model_fields.items()}
        if not path:
            return sorted(fields)
        if path[0] in fields:
            return _keys(fields[str(path[0])].annotation, path[1:])
    if path and (isinstance(path[0], int) or get_origin(model) is dict):
        path = path[1:]
    # Through Optional, unions, lists and dicts: the first member in which the path leads somewhere.
    members = get_args(model)
    return next((keys for each in members if (keys := _keys(each, path)) is not None), None)


def _located(error: MolgenError, where: str) -> MolgenError:
    inner = f"{where}, {error.where}" if where and error.where else where or error.where
    return type(error)(error.what, where=inner, expected=error.expected, remedy=error.remedy)


def _join(root: str, path: Path) -> str:
    joined = root
    for key in path:
        joined += f"[{key}]" if isinstance(key, int) else f".{key}" if joined else str(key)
    return joined
