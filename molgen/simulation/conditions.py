"""Under what conditions a model computes, and whether they are those that its certificate was measured under."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from molgen.models.document import Document
from molgen.simulation.evaluation import Model

__all__ = ["NotCertifiedWarning", "conditions_of", "departures"]


class NotCertifiedWarning(UserWarning):
    """A model computes under other conditions than those that its certificate was measured under."""


def conditions_of(model: Model) -> dict[str, object]:
    """What the figures of a certificate depend on, as plain data.

    `dtype` of the weights ("float64"), `device` ("cpu", "cuda") and `product_methods`: how each tensor product is
    computed ("grid", "fused", …), by the name of its module.
    """
    return {
        "dtype": str(model.dtype).removeprefix("torch."),
        "device": model.device.type,
        "product_methods": _product_methods(model) if isinstance(model, nn.Module) else {},
    }


def departures(model: Model, document: Document) -> list[str]:
    """How a model computes otherwise than when its certificate was measured; empty without a certificate.

    A certificate of other tensors certifies nothing, so nothing departs from it.
    """
    certificate = document.certificate or {}
    certified = certificate.get("conditions")
    if not isinstance(certified, Mapping):
        return []
    if certificate.get("tensors_sha256", document.tensors_sha256) != document.tensors_sha256:
        return []
    now = conditions_of(model)
    found = [
        f"{name} is {now[name]}, certified was {' or '.join(map(str, _several(certified[name])))}"
        for name in ("dtype", "device")
        if name in certified and now[name] not in _several(certified[name])
    ]
    methods, before = now["product_methods"], certified.get("product_methods")
    if isinstance(methods, Mapping) and isinstance(before, Mapping):
        found += [
            f"the product {name} is computed by {methods.get(name)}, certified was {before.get(name)}"
            for name in sorted({*methods, *before})
            if methods.get(name) != before.get(name)
        ]
    return found


def _several(certified: object) -> list:
    """What was certified: a certificate may have been measured in several dtypes."""
    return certified if isinstance(certified, list) else [certified]


def _product_methods(module: nn.Module) -> dict[str, str]:
    found = ((name, getattr(each, "method", None)) for name, each in module.named_modules())
    return {name: method for name, method in found if isinstance(method, str)}
