"""The options of the encoder `gaunt`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from e3nn import o3
from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from molgen.host.component import ComponentKind, ComponentRef
from molgen_gaunt.config import Parity
from molgen_gaunt.encoder.irreps import irreps_after
from molgen_gaunt.form import natural

__all__ = ["GauntEncoderConfig"]

# products of this plugin, which have the options `weights` and `parity`
_OWN: Final = ("gaunt", "clebsch-gordan")


class GauntEncoderConfig(BaseModel):
    """Options of the encoder `gaunt`; the defaults are those of a potential of medium size."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    channels: int = Field(64, ge=1, description="channels of every degree")
    l_max: int = Field(3, ge=0, description="highest degree of the edges' harmonics and of what is summed over them")
    l_hidden: int = Field(
        1, ge=0, validate_default=True, description="highest degree of node features between layers, at most l_max"
    )
    layers: int = Field(2, ge=1, description="message-passing layers")
    correlation: int = Field(3, ge=1, description="ν, factors of the highest power of what a node gathered")
    parity: Parity = Field("even", description="true tensors alone (even), or pseudotensors and odd paths too (full)")
    tensor_product: Annotated[ComponentRef, ComponentKind("tensor_product")] = Field(
        "gaunt", validate_default=True, description="product of features and filters, and of powers"
    )
    nonlinearity: Literal["gate", "s2", "none"] = Field(
        "gate", description="after the powers: a gate, SiLU at points of the sphere (s2), or none"
    )
    normalize: bool = Field(True, description="divide features by their root mean square before products")
    radial_basis: int = Field(8, ge=1, description="functions of the length")
    radial_channels: int = Field(64, ge=1, description="width of the network of the radial functions")
    aggregation: Literal["auto", "moments", "edges"] = Field(
        "auto", description="sum over neighbours, then product (moments); product on every edge (edges); or the cheaper"
    )
    cutoff: float | None = Field(None, gt=0, allow_inf_nan=False, description="Å; none for complete graphs")
    envelope_exponent: int = Field(6, ge=3, description="p of the polynomial envelope, with a cutoff")
    irreps_out: str | None = Field(None, description="of the output, like 128x0e + 16x1o; null for all hidden features")

    @model_validator(mode="before")
    @classmethod
    def _product_of_this_network(cls, data: Any) -> Any:
        """The plugin's own products take their weights and the parity of the network, where nothing else is said."""
        if not isinstance(data, Mapping):
            return data
        given = data.get("tensor_product", "gaunt")
        use, options = (given, {}) if isinstance(given, str) else (None, None)
        if isinstance(given, Mapping) and isinstance(given.get("use"), str):
            use, options = given["use"], given.get("config") or {}
        if (
            not isinstance(use, str)
            or use.removeprefix("molgen-gaunt:") not in _OWN
            or not isinstance(options, Mapping)
        ):
            return data
        parity = data.get("parity", "even")
        filled = {"weights": "internal", "parity": parity if parity in ("even", "full") else "even", **options}
        rest = given if isinstance(given, Mapping) else {}
        return {**data, "tensor_product": {**rest, "use": use, "config": filled}}

    @field_validator("l_hidden")
    @classmethod
    def _within_l_max(cls, value: int, info: ValidationInfo) -> int:
        if "l_max" in info.data and value > info.data["l_max"]:
            raise ValueError(f"l_hidden = {value} is above l_max = {info.data['l_max']}")
        return value

    @field_validator("tensor_product")
    @classmethod
    def _has_the_odd_paths(cls, value: ComponentRef, info: ValidationInfo) -> ComponentRef:
        if info.data.get("parity") == "full" and getattr(value.config, "parity", "full") == "even":
            raise ValueError("its parity is even, and parity: full of the network needs the odd paths of the product")
        return value

    @field_validator("nonlinearity")
    @classmethod
    def _on_the_sphere(cls, value: str, info: ValidationInfo) -> str:
        if value == "s2" and info.data.get("parity") == "full":
            raise ValueError("pseudotensors are no functions on the sphere; choose gate, or parity: even")
        return value

    @field_validator("irreps_out")
    @classmethod
    def _reached(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is None or not {"layers", "l_max", "l_hidden", "correlation", "parity"} <= set(info.data):
            return value
        try:
            irreps = o3.Irreps(value)
        except (ValueError, AssertionError) as error:
            raise ValueError(f"{value!r} are no irreps; expected irreps like '128x0e + 16x1o'") from error
        if irreps.dim == 0:
            raise ValueError("the output is empty")
        sizes = (info.data[name] for name in ("layers", "l_max", "l_hidden", "correlation"))
        there = irreps_after(*sizes, full=info.data["parity"] == "full")
        for _, ir in irreps:
            if ir not in there:
                raise ValueError(f"no feature of the network is {ir}: they are {there}; {_remedy(ir, info.data)}")
        return value


def _remedy(ir: o3.Irrep, options: Mapping[str, Any]) -> str:
    """How to get an irrep that is not there."""
    if natural(ir.l, ir.p) or ir.l > options["l_hidden"]:
        return "raise l_hidden"
    return "set parity: full" if options["parity"] == "even" else "take more layers, a higher correlation or l_max"
