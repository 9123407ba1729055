"""The options of the tensor products."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Method = Literal["auto", "direct", "grid", "separable", "fourier", "fused"]
Parity = Literal["even", "full"]
Normalization = Literal["component", "integral"]
Mode = Literal["channelwise", "fully-connected"]
Weights = Literal["none", "internal", "external"]
Precision = Literal["float32", "3xtf32", "tf32", "bfloat16"]


class ClebschGordanConfig(BaseModel):
    """Options of the Clebsch-Gordan product."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    parity: Parity = Field("full", description="paths: all (full), or those with l₁ + l₂ + l₃ even")
    normalization: Normalization = Field(
        "component", description="outputs of unit variance, or (integral) the product of functions on the sphere"
    )
    mode: Mode = Field(
        "channelwise", description="channel u meets channel u, or linear layers mix channels on both sides"
    )
    weights: Weights = Field(
        "none", description="a weight per path and channel: none, the product's own, or handed to forward"
    )


class GauntConfig(BaseModel):
    """Options of the Gaunt product."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    method: Method = Field("auto", description="how it is computed; auto takes the fastest for the sizes at hand")
    parity: Parity = Field(
        "even", description="paths: those with l₁ + l₂ + l₃ even, or all (full), the odd ones through r̂·(∇f × ∇g)"
    )
    normalization: Normalization = Field(
        "component", description="outputs of unit variance, or (integral) the product of functions on the sphere"
    )
    mode: Mode = Field(
        "channelwise", description="channel u meets channel u, or linear layers mix channels on both sides"
    )
    weights: Weights = Field(
        "none", description="weights per degree and channel: none, the product's own, or handed to forward"
    )
    rank: int = Field(1, ge=1, description="terms of the weights Σᵣ aᵣ(l₁) bᵣ(l₂) cᵣ(l₃), where there are weights")
    precision: Precision = Field("float32", description="arithmetic of the fused method, for float32 inputs on a GPU")
