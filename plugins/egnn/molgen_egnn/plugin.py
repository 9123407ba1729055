"""Registers the encoder `egnn`; imports nothing heavy."""

from __future__ import annotations

from collections.abc import Callable

from molgen.host.component import Capabilities, Component, hookimpl


@hookimpl
def molgen_register_encoders(register: Callable[[Component], None]) -> None:
    """Registers `egnn`."""
    register(
        Component(
            name="egnn",
            summary="E(n) equivariant graph network: scalars, distances and one displacement; fast and simple",
            cite="Satorras, Hoogeboom, Welling 2021, arXiv:2102.09844",
            factory="molgen_egnn.encoder:build",
            config="molgen_egnn.config:EGNNConfig",
            capabilities=Capabilities(symmetry="O3", smooth=True, l_max=1, periodic=True, double_backward=True),
        )
    )
