"""Registers the trained models by name; imports nothing heavy."""

from __future__ import annotations

from collections.abc import Callable

from molgen.host.component import Capabilities, Component, hookimpl


@hookimpl
def molgen_register_models(register: Callable[[Component], None]) -> None:
    """Registers `qm9-egnn`, also called `qm9`."""
    register(
        Component(
            name="qm9-egnn",
            aliases=("qm9",),
            summary="generates molecules of H, C, N and O with up to 9 heavy atoms; EGNN with karras, trained on QM9",
            cite="Ramakrishnan, Dral, Rupp, von Lilienfeld 2014, doi:10.1038/sdata.2014.22",
            factory="molgen_pretrained.models:qm9_egnn",
            capabilities=Capabilities(symmetry="O3"),
        )
    )
