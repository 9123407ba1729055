"""The contract of tensor products: two equivariant inputs, one equivariant output, bilinear."""

from __future__ import annotations

from e3nn import o3
from torch import Tensor, nn

__all__ = ["TensorProduct"]


class TensorProduct(nn.Module):
    """Base class of tensor products.

    A factory makes one: `(config, *, irreps1, irreps2, irreps_out) -> TensorProduct`. Inputs and outputs are in
    `mul_ir` layout and component normalisation.
    """

    irreps1: o3.Irreps
    irreps2: o3.Irreps
    irreps_out: o3.Irreps
    channelwise: bool = False  # whether channel u of the output depends on channel u of the inputs alone
    weight_numel: int = 0  # external weights that forward takes; 0 where the product holds its own or has none

    def forward(self, x1: Tensor, x2: Tensor, weights: Tensor | None = None) -> Tensor:
        """[..., irreps_out.dim] of [..., irreps1.dim] and [..., irreps2.dim]; weights [..., weight_numel] or None."""
        raise TypeError(f"{type(self).__name__} does not define forward")
