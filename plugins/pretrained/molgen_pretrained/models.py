"""Where the files of the trained models lie."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel

__all__ = ["organics", "organics_gaunt", "qm9_egnn"]

_WEIGHTS = Path(__file__).parent / "weights"


def qm9_egnn(config: BaseModel) -> Path:
    """The checkpoint of `qm9-egnn`; it has no options."""
    return _WEIGHTS / "qm9-egnn.safetensors"


def organics(config: BaseModel) -> Path:
    """The checkpoint of `organics`; it has no options."""
    return _WEIGHTS / "organics.safetensors"


def organics_gaunt(config: BaseModel) -> Path:
    """The checkpoint of `organics-gaunt`; it has no options."""
    return _WEIGHTS / "organics-gaunt.safetensors"
