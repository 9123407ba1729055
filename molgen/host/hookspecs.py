"""The hooks that a plugin may implement: one per kind of component, each is called once with `register`."""

from __future__ import annotations

from collections.abc import Callable

import pluggy

from molgen.host.component import Component

Register = Callable[[Component], None]

hookspec = pluggy.HookspecMarker("molgen")


@hookspec
def molgen_register_encoders(register: Register) -> None:
    """Encoders: `(config, *, inputs: int, edge_inputs: int = 0, average_neighbors: float) -> Encoder`."""


@hookspec
def molgen_register_tensor_products(register: Register) -> None:
    """Tensor products: `(config, *, irreps1, irreps2, irreps_out) -> TensorProduct`."""


@hookspec
def molgen_register_heads(register: Register) -> None:
    """Heads: `(config, *, irreps, edge_channels: int = 0) -> Head`."""


@hookspec
def molgen_register_samplers(register: Register) -> None:
    """Samplers: `(config) -> Sampler`."""


@hookspec
def molgen_register_models(register: Register) -> None:
    """Trained models: `(config) -> pathlib.Path` of a checkpoint."""


@hookspec
def molgen_register_metrics(register: Register) -> None:
    """Metrics of molecules: `(config)` to a callable on molecules."""


@hookspec
def molgen_register_datasets(register: Register) -> None:
    """Data sets: `(config) -> pathlib.Path` of a file that `molgen.data` reads."""
