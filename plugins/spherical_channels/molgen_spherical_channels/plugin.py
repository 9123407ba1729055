"""Registers the encoders `escn` and `scn`; imports nothing heavy."""

from __future__ import annotations

from collections.abc import Callable

from molgen.host.component import Capabilities, Component, hookimpl


@hookimpl
def molgen_register_encoders(register: Callable[[Component], None]) -> None:
    """Registers `escn` and `scn`."""
    register(
        Component(
            name="escn",
            summary="equivariant spherical channels: SO(2) convolutions in the frame of each edge; any degree",
            cite="Passaro, Zitnick 2023, ICML, arXiv:2302.03655",
            factory="molgen_spherical_channels.escn:build",
            config="molgen_spherical_channels.config:ESCNConfig",
            # with `reflections: false`, the weakest that its options allow
            capabilities=Capabilities(symmetry="SO3", smooth=True, periodic=True, double_backward=True),
        )
    )
    register(
        Component(
            name="scn",
            summary="spherical channels: a plain network in the frame of each edge; equivariant on average only, "
            "features of the default off by 0.5 % at initialisation",
            cite="Zitnick et al. 2022, NeurIPS, arXiv:2206.14331",
            factory="molgen_spherical_channels.scn:build",
            config="molgen_spherical_channels.config:SCNConfig",
            capabilities=Capabilities(symmetry="approximate", smooth=False, periodic=True, double_backward=True),
        )
    )
