"""The options of the `egnn` encoder."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class EGNNConfig(BaseModel):
    """Options of EGNN; the defaults are those of a generator of small molecules."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    channels: int = Field(128, ge=1, description="width of node features and of messages")
    layers: int = Field(6, ge=1, description="message-passing layers")
    edge_channels: int = Field(0, ge=0, description="invariant pair features that it returns; 0 for none")
    attention: bool = Field(True, description="gate each message by a sigmoid of it (eq. 8)")
    update_positions: bool = Field(True, description="let each layer see the positions that the layers before moved")
    cutoff: float | None = Field(None, gt=0, allow_inf_nan=False, description="Å; none for complete graphs")
    envelope_exponent: int = Field(6, ge=3, description="p of the polynomial envelope, with a cutoff")
    radial_channels: int = Field(16, ge=1, description="radial functions of the lengths, with a cutoff")
