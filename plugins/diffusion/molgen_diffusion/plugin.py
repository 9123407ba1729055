"""Registers the samplers `karras`, `flow` and `edm`; imports nothing heavy."""

from __future__ import annotations

from collections.abc import Callable

from molgen.host.component import Capabilities, Component, hookimpl


@hookimpl
def molgen_register_samplers(register: Callable[[Component], None]) -> None:
    """Registers `karras`, `flow` and `edm`."""
    register(
        Component(
            name="karras",
            summary="preconditioned denoising; Euler or Heun steps with churn; good from 25 steps on",
            cite="Karras, Aittala, Aila, Laine 2022, arXiv:2206.00364",
            factory="molgen_diffusion.karras:build",
            config="molgen_diffusion.config:KarrasConfig",
            capabilities=Capabilities(symmetry="O3"),
        )
    )
    register(
        Component(
            name="flow",
            summary="the straight path from noise to data; Euler or Heun steps without noise put back",
            cite="Lipman, Chen, Ben-Hamu, Nickel, Le 2023, arXiv:2210.02747",
            factory="molgen_diffusion.flow:build",
            config="molgen_diffusion.config:FlowConfig",
            capabilities=Capabilities(symmetry="O3"),
        )
    )
    register(
        Component(
            name="edm",
            summary="noise prediction with a polynomial schedule; ancestral steps, any number of them",
            cite="Hoogeboom, Satorras, Vignac, Welling 2022, arXiv:2203.17003",
            factory="molgen_diffusion.edm:build",
            config="molgen_diffusion.config:EDMConfig",
            capabilities=Capabilities(symmetry="O3"),
        )
    )
