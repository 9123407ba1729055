"""`Document`: the JSON in a model file that says what the model is, in data alone."""

from __future__ import annotations

import hashlib
import math
import numbers
import platform
import warnings
from collections.abc import Mapping
from importlib import metadata
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    TypeAdapter,
    field_validator,
    model_validator,
)

from molgen.elements import NUMBERS
from molgen.interfaces import Process, Schema
from molgen.models import strict_json

__all__ = [
    "FORMAT_VERSION",
    "ComponentRecord",
    "Document",
    "ElementRecord",
    "PartRecord",
    "PotentialRecord",
    "Statistics",
    "check_process",
    "check_schema",
    "document_sha256",
    "library_versions",
]

FORMAT_VERSION = 1

_SCHEMA = TypeAdapter(Schema)
_PROCESS = TypeAdapter(Process)
_LIBRARIES = ("molgen", "torch", "e3nn", "safetensors")
_ID = r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}:[A-Za-z0-9][A-Za-z0-9._-]{0,99}"


def _plain(value: object) -> Any:
    """JSON's own types: tuples become lists, numpy's numbers Python's, keys text."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, numbers.Integral) and not isinstance(value, bool):
        return int(value)
    if isinstance(value, numbers.Real) and not isinstance(value, int):
        if not math.isfinite(value):
            raise ValueError(f"{value} can't be recorded; every number must be finite")
        return float(value)
    return value


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("must be printable")
    return text


Plain = Annotated[dict[str, JsonValue], BeforeValidator(_plain)]
Name = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_printable)]
Sha256 = Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")]


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class _Identity(_Record):
    use: str = Field(pattern=f"^{_ID}$", description="full id, distribution:name")
    distribution_version: Name = Field(description="of the distribution that registered it, a note for people")
    component_version: int = Field(ge=1, description="older ones are migrated, newer ones refused")


class PartRecord(_Identity):
    """A component inside another one's config."""

    kind: Name = Field(description="tensor_product, …")


class ComponentRecord(_Identity):
    """One component of a model, as the registry resolved it."""

    config: Plain = Field(default_factory=dict, description="every option, defaults included")
    parts: dict[Name, PartRecord] = Field(
        default_factory=dict, description="components inside the config, by their key path in it (`product`)"
    )
    prefix: str = Field(default="", max_length=200, description="what its tensors' names begin with")


class Statistics(_Record):
    """What was measured of the training data and is part of the model."""

    sigma_data: float | None = Field(default=None, gt=0, description="standard deviation of a coordinate, Å; generator")
    average_neighbors: float = Field(gt=0, description="edges per receiving atom")


class ElementRecord(_Record):
    """What a potential adds to its network for an element: E₀ + shift + scale · network."""

    isolated_energy: float = Field(description="eV, E₀: of the isolated atom")
    shift: float = Field(default=0.0, description="eV per atom in the training data, beyond the isolated atom")
    scale: float = Field(default=1.0, gt=0, description="eV per unit of the network's output")


class PotentialRecord(_Record):
    """What a potential is beside its encoder and heads."""

    elements: dict[Name, ElementRecord] = Field(min_length=1, description="by symbol")
    isolated_source: Literal["given", "fitted", "unknown"] = Field(
        default="given",
        description="whether E₀ are energies of isolated atoms, a fit to the training data, or an arbitrary zero",
    )
    conditions: list[Literal["charge", "spin"]] = Field(default_factory=list, description="what it tells apart")
    repulsion: bool = Field(default=True, description="screened nuclear repulsion of atoms that nearly touch")
    repulsion_reach: float = Field(
        default=1.0, gt=0, le=3, description="where it ends, in sums of covalent radii; 1 in files that do not say"
    )
    forces_from: Name | None = Field(default=None, description="the head that forces come from, where two could")
    conservative: bool = Field(default=True, description="whether forces are derivatives of the energy; a note")

    @field_validator("elements")
    @classmethod
    def _symbols(cls, elements: dict[str, ElementRecord]) -> dict[str, ElementRecord]:
        unknown = [symbol for symbol in elements if symbol not in NUMBERS]
        if unknown:
            raise ValueError(f"{unknown[0]!r} is no element")
        return elements


with warnings.catch_warnings():
    # pydantic warns that the field `schema` hides its deprecated method of that name, which is what we want
    warnings.filterwarnings("ignore", message='Field name "schema"')

    class Document(_Record):
        """What a model is: everything but its tensors."""

        format_version: int = Field(default=FORMAT_VERSION, ge=1)
        name: Name
        task: Literal["generator", "potential"]
        components: dict[Name, ComponentRecord] = Field(description="by role: encoder, sampler, heads.energy, …")
        schema: Plain = Field(default_factory=dict, description="`Schema.as_dict()`; empty for potentials")  # type: ignore[assignment]
        process: Plain = Field(default_factory=dict, description="`Process.as_dict()`; empty for potentials")
        potential: PotentialRecord | None = Field(default=None, description="potentials: energies beside the network")
        statistics: Statistics
        units: dict[Name, Name] = Field(default={"length": "Å"})
        dtype: Literal["float32", "float64"] = Field(default="float32", description="of the module when it was trained")
        data_fingerprint: Name | None = Field(default=None, description="sha256 of the training data's content")
        seed: int | None = None
        library_versions: dict[Name, Name] = Field(default_factory=dict)
        training: Plain = Field(default_factory=dict, description="samples, steps, hours, hardware and the like")
        certificate: Plain | None = Field(default=None, description="what was measured of these tensors")
        tensors_sha256: Sha256 = Field(default="", description="filled in when the file is written")
        document_sha256: Sha256 = Field(default="", description="of all the rest; filled in when the file is written")

        @model_validator(mode="after")
        def _is_complete(self) -> Document:
            if self.task == "generator":
                missing = [role for role in ("encoder", "sampler") if role not in self.components]
                if missing:
                    raise ValueError(f"a generator needs the component {missing[0]!r}")
                if self.statistics.sigma_data is None:
                    raise ValueError("a generator needs statistics.sigma_data")
                check_schema(self.schema)
                check_process(self.process)
            else:
                if "encoder" not in self.components or not any(role.startswith("heads.") for role in self.components):
                    raise ValueError("a potential needs an encoder and a head")
                if self.potential is None:
                    raise ValueError("a potential needs its record of elements")
            return self


def check_schema(found: Mapping) -> Schema:
    """The Schema of a document.

    Raises:
        ValueError: keys, types or values that no Schema has.
    """
    schema = _SCHEMA.validate_python(found)
    _refuse_unknown(found, _plain(schema.as_dict()), "schema")
    if not schema.elements or not all(0 < number <= 118 for number in schema.elements):
        raise ValueError("schema.elements must be atomic numbers from 1 to 118, and not empty")
    if len(set(schema.elements)) != len(schema.elements):
        raise ValueError("schema.elements names an element twice")
    if not schema.size_counts or not all(n > 0 and count >= 0 for n, count in schema.size_counts.items()):
        raise ValueError("schema.size_counts must say how many molecules have n > 0 atoms")
    return schema


def check_process(found: Mapping) -> Process:
    """The Process of a document.

    Raises:
        ValueError: keys, types or values that no Process has.
    """
    process = _PROCESS.validate_python(found)
    _refuse_unknown(found, _plain(process.as_dict()), "process")
    if not 0 < process.sigma_min < process.sigma_max or not process.sigma_data > 0:
        raise ValueError("process needs 0 < sigma_min < sigma_max and sigma_data > 0")
    return process


def _refuse_unknown(found: object, understood: object, path: str) -> None:
    # pydantic leaves unknown keys of plain dataclasses out without a word
    if isinstance(found, Mapping) and isinstance(understood, Mapping):
        for key, value in found.items():
            if str(key) not in understood:
                raise ValueError(f"{path} has the unknown key {str(key)[:60]!r}")
            _refuse_unknown(value, understood[str(key)], f"{path}.{key}")


def document_sha256(data: Mapping[str, object]) -> str:
    """The hash of a document's content, its own field left out."""
    return hashlib.sha256(strict_json.canonical({k: v for k, v in data.items() if k != "document_sha256"})).hexdigest()


def library_versions() -> dict[str, str]:
    """Versions of what computes here, for a document's record."""
    found = {"python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
