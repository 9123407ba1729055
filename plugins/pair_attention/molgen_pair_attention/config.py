"""The options of the `pair-attention` encoder."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, model_validator


class PairAttentionConfig(BaseModel):
    """Options of pair attention; the defaults are those of a generator of small molecules."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    channels: int = Field(128, ge=1, description="scalar features of an atom")
    pair_channels: int = Field(32, ge=1, description="invariant features of a pair of atoms")
    vector_channels: int = Field(16, ge=1, description="vectors that an atom carries")
    heads: int = Field(8, ge=1, description="of attention; they share the channels")
    layers: int = Field(6, ge=1, description="rounds of attention")
    widening: int = Field(2, ge=1, description="width of the layers between, by that of what they read")
    edge_channels: int = Field(0, ge=0, description="invariant pair features that it returns; 0 for none")
    update_positions: bool = Field(True, description="let each layer see the positions that the layers before moved")

    @model_validator(mode="after")
    def _divisible(self) -> PairAttentionConfig:
        if self.channels % self.heads:
            raise ValueError(f"channels = {self.channels} must be a multiple of heads = {self.heads}")
        return self
