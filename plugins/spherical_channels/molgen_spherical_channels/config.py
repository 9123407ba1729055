"""The options of the encoders `escn` and `scn`."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

__all__ = ["ESCNConfig", "SCNConfig", "SphericalChannelsConfig"]


class SphericalChannelsConfig(BaseModel):
    """What both encoders can be told."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    channels: int = Field(64, ge=1, description="spherical channels of each atom")
    l_max: int = Field(2, ge=1, le=20, description="highest degree of the channels")
    m_max: int | None = Field(
        None, ge=0, le=20, description="highest order |m| that messages see in the frame of an edge; null for l_max"
    )
    layers: int = Field(4, ge=1, description="message-passing layers")
    hidden_channels: int = Field(64, ge=1, description="width of the message network; in `escn` for each order m")
    cutoff: float | None = Field(None, gt=0, allow_inf_nan=False, description="Å; none for complete graphs")
    radial_channels: int = Field(16, ge=1, description="radial functions of the lengths")
    envelope_exponent: int = Field(6, ge=3, description="p of the polynomial envelope, with a cutoff")

    @field_validator("m_max")
    @classmethod
    def _within_degree(cls, value: int | None, info: ValidationInfo) -> int | None:
        l_max = info.data.get("l_max")
        if value is not None and l_max is not None and value > l_max:
            raise ValueError(f"m_max is {value}, and no degree up to l_max = {l_max} has such an order")
        return value

    @property
    def orders(self) -> int:
        """The highest |m|, with the default filled in."""
        return self.l_max if self.m_max is None else self.m_max


class ESCNConfig(SphericalChannelsConfig):
    """Options of eSCN."""

    reflections: bool = Field(
        True,
        description="equivariant under reflections too, at half the arithmetic; false for the published complex "
        "products, which tell mirror images apart",
    )


class SCNConfig(SphericalChannelsConfig):
    """Options of SCN."""

    taps: int = Field(4, ge=1, le=64, description="turns of the frame about its edge over which a message is averaged")
    grid_degree: int | None = Field(
        None, ge=2, description="degree that the grid of the node network integrates exactly; null for 4·l_max + 4"
    )

    @field_validator("grid_degree")
    @classmethod
    def _resolves(cls, value: int | None, info: ValidationInfo) -> int | None:
        l_max = info.data.get("l_max")
        if value is not None and l_max is not None and value < 2 * l_max:
            raise ValueError(f"grid_degree is {value}, and l_max = {l_max} needs at least {2 * l_max}")
        return value

    @property
    def degree_of_grid(self) -> int:
        """The grid's degree, with the default filled in."""
        return 4 * self.l_max + 4 if self.grid_degree is None else self.grid_degree
