"""The options of the heads."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

_Widths = tuple[Annotated[int, Field(ge=1)], ...]

_HIDDEN = "widths of the hidden layers of the network on invariants; [] for a linear one"
_SPREAD = "how what is missing of the total charge is spread over atoms: by their learned softness, or in equal parts"


class EnergyConfig(BaseModel):
    """Options of the `energy` head."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    hidden: _Widths = Field((64,), description=_HIDDEN)


class DirectForcesConfig(BaseModel):
    """Options of the `direct-forces` head."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    hidden: _Widths = Field((64,), description=_HIDDEN)
    remove_net_force: bool = Field(True, description="take the mean force off each structure, so that none accelerates")


class ChargesConfig(BaseModel):
    """Options of the `charges` head."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    hidden: _Widths = Field((64,), description=_HIDDEN)
    spread: Literal["softness", "equal"] = Field("softness", description=_SPREAD)


class DipoleConfig(BaseModel):
    """Options of the `dipole` head."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    hidden: _Widths = Field((64,), description=_HIDDEN)
    spread: Literal["softness", "equal"] = Field("softness", description=_SPREAD)
    atomic_dipoles: bool = Field(True, description="add dipoles of atoms, where the encoder gives vectors (1o)")
