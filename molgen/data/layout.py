"""What a cache file holds: the names and widths of its tensors, and the JSON document beside them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

__all__ = [
    "ATOM_LABEL",
    "FORMAT_VERSION",
    "METADATA_KEY",
    "STRUCTURE_LABEL",
    "UNITS",
    "CacheDocument",
    "Precision",
    "Source",
    "content_hash",
    "hash_tensor",
]

FORMAT_VERSION = 1
METADATA_KEY = "molgen.cache"
ATOM_LABEL = "atom:"  # "atom:forces" is the tensor of the atom label "forces"
STRUCTURE_LABEL = "structure:"

Precision = Literal["float32", "float64", "compact"]

# the units in which every room exchanges these labels; others are stored with the unit "not stated"
UNITS: dict[str, str] = {
    "energy": "eV",
    "free_energy": "eV",
    "energies": "eV",
    "forces": "eV/Å",
    "stress": "eV/Å³",
    "dipole": "e·Å",
    "charges": "e",
    "magmom": "μB",
    "magmoms": "μB",
    "masses": "amu",
    "momenta": "√(amu·eV)",
    "gdb_index": "none",
    "tags": "none",
}


LabelName = Annotated[str, Field(pattern=f"^({ATOM_LABEL}|{STRUCTURE_LABEL}).")]


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Source(_Record):
    """Where the data came from."""

    name: str
    sha256: str = Field(pattern="^[0-9a-f]{64}$")


class CacheDocument(_Record):
    """The JSON document of a cache."""

    format_version: Literal[1] = 1
    n_structures: int = Field(ge=1)
    n_atoms: int = Field(ge=0)
    n_bonds: int = Field(ge=0)
    n_bonds_known: int = Field(ge=0)  # structures whose bonds are known
    elements: tuple[int, ...]
    precision: Precision
    scale: float | None = Field(default=None, gt=0, allow_inf_nan=False)  # Å per step of int16, of "compact"
    position_error: float = Field(ge=0, allow_inf_nan=False)  # Å, the bound on |stored − given|, up to a translation
    labels: dict[LabelName, str] = {}  # unit of "atom:forces", "structure:energy", …
    dropped_labels: tuple[str, ...] = ()  # labels that only some of the structures had
    source: Source | None = None
    fingerprint: str = Field(pattern="^[0-9a-f]{64}$")

    @model_validator(mode="after")
    def _scaled_if_compact(self) -> Self:
        if (self.scale is not None) != (self.precision == "compact"):
            raise ValueError(f"scale {self.scale} doesn't go with precision {self.precision}")
        return self


def content_hash(scale: float | None) -> hashlib._Hash:
    """The hash that a fingerprint starts from; each tensor follows by :func:`hash_tensor`, in the file's order."""
    return hashlib.sha256(json.dumps(["molgen cache", FORMAT_VERSION, scale]).encode())


def hash_tensor(
    running: hashlib._Hash, name: str, dtype: str, shape: Sequence[int], blocks: Iterable[bytes | memoryview]
) -> None:
    """Add one tensor to a fingerprint: its name, type and shape, then its bytes."""
    running.update(json.dumps([name, dtype, list(shape)]).encode())
    for block in blocks:
        running.update(block)
