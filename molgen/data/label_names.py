"""The labels of a potential, and the names under which files have them.

A label is looked for under its names in the order in which they stand here, without regard to upper and lower case, so
`REF_energy` goes before `energy`. Names of the second kind are read from npz files only, where they are usual.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from molgen.conversion.charges import CHARGE_KEYS, SPIN_KEYS

__all__ = [
    "ATOM_LABELS",
    "CONFIG_TYPE",
    "LABELS",
    "SHAPES",
    "UNIT_KEYS",
    "VIRIAL",
    "candidates",
    "is_plain",
    "is_reference",
    "known",
]

LABELS: Final = ("energy", "forces", "stress", "dipole", "charges")
ATOM_LABELS: Final = frozenset({"forces", "charges"})
VIRIAL: Final = "virial"  # read in place of the stress: stress = −virial / volume

# numbers of a label per frame or atom; a stress may also come as 9 numbers or as 6 in Voigt's order
SHAPES: Final[dict[str, tuple[tuple[int, ...], ...]]] = {
    "energy": ((), (1,)),
    "forces": ((3,),),
    "stress": ((3, 3), (9,), (6,)),
    VIRIAL: ((3, 3), (9,), (6,)),
    "dipole": ((3,),),
    "charges": ((), (1,)),
}

_NAMES: Final[dict[str, tuple[str, ...]]] = {
    "energy": (
        "ref_energy",
        "energy",
        "free_energy",
        "total_energy",
        "totenergy",
        "tot_energy",
        "dft_energy",
        "qm_energy",
        "potential_energy",
    ),
    "forces": ("ref_forces", "ref_force", "forces", "force", "dft_forces", "dft_force", "qm_forces", "qm_force"),
    "stress": ("ref_stress", "stress", "dft_stress"),
    VIRIAL: ("ref_virial", "ref_virials", "virial", "virials", "dft_virial", "dft_virials"),
    "dipole": ("ref_dipole", "dipole", "dft_dipole", "dipole_moment", "mu"),
    "charges": ("ref_charges", "charges", "charge", "dft_charges", "partial_charges"),
}
_ARRAY_NAMES: Final = {"energy": ("energies", "e"), "forces": ("f",), "dipole": ("d",)}

CONFIG_TYPE: Final = "config_type"

# under which names a file may state the unit of a label, or of all lengths
UNIT_KEYS: Final[dict[str, tuple[str, ...]]] = {
    "energy": ("energy_unit", "energy_units", "e_unit", "units_energy", "unit_energy"),
    "forces": ("forces_unit", "forces_units", "force_unit", "force_units", "f_unit", "units_forces", "unit_forces"),
    "stress": ("stress_unit", "stress_units", "units_stress", "unit_stress"),
    VIRIAL: ("virial_unit", "virial_units", "units_virial", "unit_virial"),
    "dipole": ("dipole_unit", "dipole_units", "units_dipole", "unit_dipole"),
    "length": ("length_unit", "length_units", "r_unit", "units_length", "unit_length", "position_unit"),
}

_KNOWN: Final = frozenset(
    {name for names in (*_NAMES.values(), *UNIT_KEYS.values()) for name in names}
    | {*CHARGE_KEYS, *SPIN_KEYS, CONFIG_TYPE, "initial_charges", "units"}
)
_KNOWN_ARRAYS: Final = frozenset(name for names in _ARRAY_NAMES.values() for name in names)


def known(name: str, *, arrays: bool = False) -> bool:
    """Whether a name in a file (an npz file if `arrays`) is one that is looked for."""
    name = name.lower()
    return name in _KNOWN or (arrays and name in _KNOWN_ARRAYS)


def candidates(label: str, names: Iterable[str], *, arrays: bool = False) -> list[str]:
    """Those of a file's names that may be a label, the first choice first.

    >>> candidates("energy", ["energy", "time", "REF_energy"])
    ['REF_energy', 'energy']
    """
    order = _NAMES[label] + (_ARRAY_NAMES.get(label, ()) if arrays else ())
    rank = {name: place for place, name in enumerate(order)}
    return sorted((name for name in names if name.lower() in rank), key=lambda name: (rank[name.lower()], name))


def is_reference(name: str) -> bool:
    """Whether a name marks what is to be learned, beside which a plain one may hold a model's prediction.

    >>> is_reference("REF_energy"), is_reference("energy")
    (True, False)
    """
    return name.lower().startswith("ref_")


def is_plain(name: str) -> bool:
    """Whether a name says nothing of where its values come from.

    >>> is_plain("forces"), is_plain("dft_forces")
    (True, False)
    """
    return not name.lower().startswith(("ref_", "dft_", "qm_"))
