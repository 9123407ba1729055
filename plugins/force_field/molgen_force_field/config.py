"""The options of the heads."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

_Widths = tuple[Annotated[int, Field(ge=1)], ...]


class EnergyConfig(BaseModel):
    """Options of the `energy` head."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    hidden: _Widths = Field((64,), description="widths of the hidden layers; none for a linear read-out")
