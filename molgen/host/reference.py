"""A component inside a config: `{use: id, config: {…}}`, or the id alone.

A config declares the kind that it wants, and a default as it would stand in YAML::

    class GauntConfig(BaseModel):
        model_config = ConfigDict(extra="forbid", frozen=True)
        product: Annotated[ComponentRef, ComponentKind("tensor_product")] = Field("gaunt", validate_default=True)

Once validated, `config.product.use` is the full id, `config.product.config` the plugin's own options with all defaults,
and `config.product.build(irreps1=…, irreps2=…, irreps_out=…)` makes the object. A dump records both.
"""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from molgen.errors import ConfigError, MolgenError, nearest

if TYPE_CHECKING:
    from pydantic import BaseModel, GetCoreSchemaHandler, GetJsonSchemaHandler, SerializationInfo, ValidationInfo
    from pydantic_core import CoreSchema

    from molgen.host.registry import Registry
    from molgen.host.resolved import Resolved

__all__ = ["REGISTRY", "ComponentKind", "ComponentRef"]

REGISTRY: Final = "molgen.registry"  # key of pydantic's validation context under which the registry travels


@dataclass(frozen=True)
class ComponentRef:
    """A component that a config asks for, validated and resolved. Equal where id and options are equal."""

    use: str  # "distribution:name"
    config: BaseModel  # the component's own options, every default filled in
    resolved: Resolved = field(repr=False, compare=False)

    @property
    def kind(self) -> str:
        """The kind of the component."""
        return self.resolved.kind

    def build(self, **arguments: Any) -> Any:
        """The object, made by the plugin's factory with the arguments that the kind's contract names."""
        return self.resolved.build(self.config, **arguments)

    def record(self, mode: str = "json") -> dict[str, Any]:
        """`{"use": id, "config": {…}}` with the full id and all defaults, as checkpoints keep it."""
        return {"use": self.use, "config": self.config.model_dump(mode=mode)}

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        raise TypeError('a ComponentRef states its kind: Annotated[ComponentRef, ComponentKind("encoder")]')


@dataclass(frozen=True)
class ComponentKind:
    """Declares the kind of a `ComponentRef` in a config: `Annotated[ComponentRef, ComponentKind("encoder")]`."""

    kind: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        from pydantic_core import core_schema

        if source is not ComponentRef:
            raise TypeError(f"ComponentKind annotates a ComponentRef, not {source!r}")
        return core_schema.with_info_plain_validator_function(
            self._validate, serialization=core_schema.plain_serializer_function_ser_schema(_dump, info_arg=True)
        )

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        full = {
            "type": "object",
            "properties": {"use": {"type": "string"}, "config": {"type": "object"}},
            "required": ["use"],
            "additionalProperties": False,
        }
        return {
            "anyOf": [{"type": "string"}, full],
            "description": f"id of a registered {self.kind}, or id and options",
        }

    def _validate(self, value: Any, info: ValidationInfo) -> ComponentRef:
        from pydantic import ValidationError

        from molgen.host.config import nested_error, translate
        from molgen.host.registry import registry

        if isinstance(value, ComponentRef) and value.kind == self.kind:
            return value
        use, config = _read(self.kind, value)
        path = ("use",) if isinstance(value, Mapping) else ()
        found: Registry = (info.context or {}).get(REGISTRY) or registry()
        try:
            resolved = found.resolve(self.kind, use)
            model = resolved.config_model()
        except MolgenError as error:
            raise nested_error([(path, error)]) from error
        try:
            options = model.model_validate(config, context=info.context)
        except ValidationError as error:
            raise nested_error([(("config", *path), each) for path, each in translate(error, model)]) from error
        except MolgenError as error:
            raise nested_error([(("config",), error)]) from error
        return ComponentRef(resolved.id, options, resolved)


def _read(kind: str, value: Any) -> tuple[Any, Any]:
    """The id and the options of a reference as it stands in YAML."""
    from molgen.host.config import nested_error

    if isinstance(value, str):
        return value, {}
    if not isinstance(value, Mapping):
        error = ConfigError(f"{reprlib.repr(value)} names no {kind}", expected="an id, or {use: id, config: {…}}")
        raise nested_error([((), error)])
    unknown = [key for key in value if key not in ("use", "config")]
    if unknown:
        error = ConfigError(
            f"unknown key {reprlib.repr(unknown[0])}", remedy=nearest(str(unknown[0]), ("use", "config"))
        )
        raise nested_error([((str(unknown[0]),), error)])
    if "use" not in value:
        raise nested_error([((), ConfigError(f"no {kind} is named", expected="use: id"))])
    options = value.get("config")
    return value["use"], {} if options is None else options


def _dump(reference: ComponentRef, info: SerializationInfo) -> dict[str, Any]:
    return reference.record(info.mode)
