"""Registers the heads `energy`, `direct-forces`, `dipole` and `charges`; imports nothing heavy."""

from __future__ import annotations

from collections.abc import Callable

from molgen.host.component import Capabilities, Component, hookimpl


@hookimpl
def molgen_register_heads(register: Callable[[Component], None]) -> None:
    """Registers `energy`, `direct-forces`, `dipole` and `charges`."""
    register(
        Component(
            name="energy",
            summary="energies of atoms from their invariants; forces and stress are derivatives of the sum",
            cite="Behler, Parrinello 2007, doi:10.1103/PhysRevLett.98.146401",
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
    register(
        Component(
            name="direct-forces",
            summary="forces as weighted vectors of each atom: fast, and no derivatives of an energy",
            cite="Schütt, Unke, Gastegger 2021, arXiv:2102.03150",
            factory="molgen_force_field.direct_forces:build",
            config="molgen_force_field.config:DirectForcesConfig",
            capabilities=Capabilities(symmetry="O3", smooth=True, l_max=1, periodic=True, double_backward=True),
        )
    )
    register(
        Component(
            name="dipole",
            summary="dipole moments of molecules, from charges and dipoles of atoms",
            cite="Schütt, Unke, Gastegger 2021, arXiv:2102.03150",
            factory="molgen_force_field.dipole:build",
            config="molgen_force_field.config:DipoleConfig",
            capabilities=Capabilities(symmetry="O3", smooth=True, l_max=1, double_backward=True),
        )
    )
    register(
        Component(
            name="charges",
            summary="partial charges of atoms that sum to the charge of their structure",
            cite="Zubatyuk et al. 2021, doi:10.1038/s41467-021-24904-0",
            factory="molgen_force_field.charges:build",
            config="molgen_force_field.config:ChargesConfig",
            capabilities=Capabilities(symmetry="O3", smooth=True, l_max=0, periodic=True, double_backward=True),
        )
    )
