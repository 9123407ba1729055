"""The floating-point types that a generator computes in."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from molgen.errors import ConfigError
from molgen.models.document import Document

__all__ = ["PRECISIONS", "Precision", "choose_precision"]

PRECISIONS = ("auto", "float32", "float64", "bf16-mixed")


@dataclass(frozen=True)
class Precision:
    """What weights and geometry are held in, and whether matrix products run in bfloat16."""

    name: str  # "float32", "float64" or "bf16-mixed"

    @property
    def dtype(self) -> torch.dtype:
        """Of weights, coordinates and noise."""
        return torch.float64 if self.name == "float64" else torch.float32

    @property
    def mixed(self) -> bool:
        """Matrix products run in bfloat16; coordinates, noise and sums of steps do not."""
        return self.name == "bf16-mixed"


def choose_precision(wanted: torch.dtype | str | None, document: Document, device: torch.device) -> Precision:
    """The precision asked for; for "auto" or None, "bf16-mixed" where the model was trained so and the device is fast
    at it, else float32.

    Raises:
        ConfigError: no such precision.
    """
    name = str(wanted).removeprefix("torch.") if wanted is not None else "auto"
    if name not in PRECISIONS:
        raise ConfigError(f"dtype is {name}", expected=" or ".join(PRECISIONS))
    if name != "auto":
        return Precision(name)
    options = document.training.get("options")
    trained = options.get("precision") if isinstance(options, dict) else None
    return Precision("bf16-mixed" if trained == "bf16-mixed" and _fast_bfloat16(device) else "float32")


def _fast_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    # bfloat16 products in hardware: AMX tiles or the AVX-512 instructions
    probes = (getattr(torch.cpu, name, None) for name in ("_is_amx_tile_supported", "_is_avx512_bf16_supported"))
    return device.type == "cpu" and any(probe() for probe in probes if probe is not None)
