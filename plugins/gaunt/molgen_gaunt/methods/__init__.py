"""Ways to compute one trilinear form: each module is one, chosen by `method`."""

from __future__ import annotations

import torch

from molgen_gaunt.config import Precision
from molgen_gaunt.form import Form
from molgen_gaunt.methods.base import Engine as Engine
from molgen_gaunt.methods.complete import Complete
from molgen_gaunt.methods.direct import Direct
from molgen_gaunt.methods.fourier import Fourier
from molgen_gaunt.methods.fused import Fused
from molgen_gaunt.methods.grid import Grid
from molgen_gaunt.methods.separable import Separable

__all__ = ["Engine", "engine_of", "engines_of"]

_ENGINES: dict[str, type[Engine]] = {"direct": Direct, "grid": Grid, "separable": Separable, "fourier": Fourier}


def engine_of(method: str, form: Form, dtype: torch.dtype, device: torch.device, precision: Precision) -> Engine:
    """The engine of a method's name; `precision` is of `fused` alone.

    Raises:
        ConfigError: `fused` where Triton is not installed.
    """
    if method == "fused":
        return Fused(form, dtype, device, precision)
    return _ENGINES[method](form, dtype, device)


def engines_of(
    method: str, forms: list[Form], dtype: torch.dtype, device: torch.device, precision: Precision
) -> list[Engine]:
    """Engines whose results add up to those of one form, or of the even and the odd form of the same inputs."""
    if method == "grid" and len(forms) == 2:
        return [Complete(forms[0], forms[1], dtype, device)]
    return [engine_of(method, form, dtype, device, precision) for form in forms]
