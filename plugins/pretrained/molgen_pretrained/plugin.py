"""Registers the trained models by name; imports nothing heavy."""

from __future__ import annotations

from collections.abc import Callable

from molgen.host.component import Capabilities, Component, hookimpl


@hookimpl
def molgen_register_models(register: Callable[[Component], None]) -> None:
    """Registers the generator `qm9-egnn`, also called `qm9`, and the potentials `organics` and `organics-gaunt`."""
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
    register(
        Component(
            name="organics",
            summary="energies and forces of molecules of H, C, N and O, for relaxing and dynamics; learned of GFN2-xTB",
            cite="Bannwarth, Ehlert, Grimme 2019, doi:10.1021/acs.jctc.8b01176",
            factory="molgen_pretrained.models:organics",
            capabilities=Capabilities(symmetry="O3", smooth=True, conservative=True, periodic=True),
        )
    )
    register(
        Component(
            name="organics-gaunt",
            summary="the same data by a smaller network of Gaunt tensor products alone",
            cite="Luo, Chen, Krishnapriyan 2024, arXiv:2401.10216",
            factory="molgen_pretrained.models:organics_gaunt",
            capabilities=Capabilities(symmetry="O3", smooth=True, conservative=True, periodic=True),
        )
    )
