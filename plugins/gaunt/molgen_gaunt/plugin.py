"""Registers the tensor products `gaunt` and `clebsch-gordan` and the encoder `gaunt`; imports nothing heavy."""

from __future__ import annotations

from collections.abc import Callable

from molgen.host.component import Capabilities, Component, hookimpl


@hookimpl
def molgen_register_tensor_products(register: Callable[[Component], None]) -> None:
    """Registers `gaunt` and `clebsch-gordan`."""
    register(
        Component(
            name="gaunt",
            summary="products of functions on the sphere: the Gaunt tensor product, five ways to compute it",
            cite="Luo, Chen, Krishnapriyan 2024, ICLR, arXiv:2401.10216",
            factory="molgen_gaunt.product:build",
            config="molgen_gaunt.config:GauntConfig",
            capabilities=Capabilities(symmetry="O3", smooth=True, double_backward=True, compile=True),
        )
    )
    register(
        Component(
            name="clebsch-gordan",
            summary="the reference: one Clebsch-Gordan contraction per path, by e3nn",
            cite="Geiger, Smidt 2022, arXiv:2207.09453",
            factory="molgen_gaunt.clebsch_gordan:build",
            config="molgen_gaunt.config:ClebschGordanConfig",
            capabilities=Capabilities(symmetry="O3", smooth=True, l_max=11, double_backward=True),
        )
    )


@hookimpl
def molgen_register_encoders(register: Callable[[Component], None]) -> None:
    """Registers `gaunt`."""
    register(
        Component(
            name="gaunt",
            summary="message passing of high degree and body order, all of its products on the sphere",
            cite="Luo, Chen, Krishnapriyan 2024, arXiv:2401.10216; Batatia et al. 2022, arXiv:2206.07697",
            factory="molgen_gaunt.encoder.network:build",
            config="molgen_gaunt.encoder.config:GauntEncoderConfig",
            capabilities=Capabilities(symmetry="O3", smooth=True, periodic=True, double_backward=True),
        )
    )
