"""What a cache file holds: the names and widths of its tensors, and the JSON document beside them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, model_validator

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

FORMAT_VERSION = 2
_FINGERPRINT_VERSION = 1
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

    format_version: Literal[1, 2] = 1  # 2 where labels have gaps, sources or isolated atoms
    n_structures: int = Field(ge=1)
    n_atoms: int = Field(ge=0)
    n_bonds: int = Field(ge=0)
    n_bonds_known: int = Field(ge=0)  # structures whose bonds are known
    elements: tuple[int, ...]
    precision: Precision
    scale: float | None = Field(default=None, gt=0, allow_inf_nan=False)  # Å per step of int16, of "compact"
    position_error: float = Field(ge=0, allow_inf_nan=False)  # Å, the bound on |stored − given|, up to a translation
    labels: dict[LabelName, str] = {}  # unit of "atom:forces", "structure:energy", …
    dropped_labels: tuple[str, ...] = ()  # labels that only some of the structures had and that can't be NaN
    label_sources: dict[str, str] = {}  # of "energy", …: its key and unit in the file that the data came from
    isolated_energies: dict[Annotated[int, Field(gt=0, le=118)], FiniteFloat] = {}  # atomic number → eV
    source: Source | None = None
    fingerprint: str = Field(pattern="^[0-9a-f]{64}$")

    def text(self) -> str:
        """JSON; what only format 2 has is left out of format 1."""
        newer = {"label_sources", "isolated_energies"}
        return self.model_dump_json(exclude=newer if self.format_version == 1 else None)

    @model_validator(mode="after")
    def _scaled_if_compact(self) -> Self:
        if (self.scale is not None) != (self.precision == "compact"):
            raise ValueError(f"scale {self.scale} doesn't go with precision {self.precision}")
        return self


def content_hash(scale: float | None, isolated_energies: Mapping[int, float]) -> hashlib._Hash:
    """The hash that a fingerprint starts from; each tensor follows by :func:`hash_tensor`, in the file's order."""
    start: list[object] = ["molgen cache", _FINGERPRINT_VERSION, scale]
    if isolated_energies:
        start.append(sorted(isolated_energies.items()))
    return hashlib.sha256(json.dumps(start).encode())


def hash_tensor(
    running: hashlib._Hash, name: str, dtype: str, shape: Sequence[int], blocks: Iterable[bytes | memoryview]
) -> None:
    """Add one tensor to a fingerprint: its name, type and shape, then its bytes."""
    running.update(json.dumps([name, dtype, list(shape)]).encode())
    for block in blocks:
        running.update(block)
