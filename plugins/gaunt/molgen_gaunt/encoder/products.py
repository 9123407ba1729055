"""The tensor product that a config names, between the features of a network."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from e3nn import o3

from molgen.errors import ConfigError
from molgen.host.component import ComponentRef
from molgen.interfaces import TensorProduct
from molgen_gaunt.encoder.irreps import copies

__all__ = ["build_product", "located"]


def build_product(ref: ComponentRef, channels: int, irreps: tuple[o3.Irreps, o3.Irreps, o3.Irreps]) -> TensorProduct:
    """The product of a config between as many channels of each irreps.

    Raises:
        ConfigError: it wants weights from outside, or can't make the output.
    """
    sides = [copies(side, channels) for side in irreps]
    with located("tensor_product"):
        product: TensorProduct = ref.build(irreps1=sides[0], irreps2=sides[1], irreps_out=sides[2])
    if product.weight_numel:
        raise ConfigError(
            f"{ref.use} takes weights from outside, and this network has none for it",
            where="tensor_product",
            remedy="set weights: internal, or none",
        )
    return product


@contextmanager
def located(key: str) -> Iterator[None]:
    """Say of a ConfigError which option it comes from; where it arose becomes part of what it says."""
    try:
        yield
    except ConfigError as error:
        what = f"{error.what} ({error.where})" if error.where else error.what
        raise ConfigError(what, where=key, expected=error.expected, remedy=error.remedy) from error
