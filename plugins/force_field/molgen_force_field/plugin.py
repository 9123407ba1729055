"""Registers the head `energy`; imports nothing heavy."""

from __future__ import annotations

from collections.abc import Callable

from molgen.host.component import Capabilities, Component, hookimpl


@hookimpl
def molgen_register_heads(register: Callable[[Component], None]) -> None:
    """Registers `energy`."""
    register(
        Component(
            name="energy",
            summary="energies of atoms from their invariants; forces and stress are derivatives of the sum",
            factory="molgen_force_field.energy:build",
            config="molgen_force_field.config:EnergyConfig",
            capabilities=Capabilities(
                symmetry="O3",
                smooth=True,
                l_max=0,
                periodic=True,
                conservative=True,
                double_backward=True,
                decomposable=True,
            ),
        )
    )
