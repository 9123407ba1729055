"""The units that labels may come in, and their factors to eV, eV/Å, eV/Å³, e·Å, e and Å."""

from __future__ import annotations

import unicodedata
from functools import cache
from typing import Final

from molgen.data.label_names import VIRIAL
from molgen.errors import ConfigError

__all__ = ["DEFAULTS", "UNITS_OF", "factor", "per_length", "spelled"]

# the unit of each quantity that molgen computes in, and that a file is taken to be in unless it is said otherwise
DEFAULTS: Final = {
    "energy": "eV",
    "forces": "eV/Å",
    "stress": "eV/Å³",
    VIRIAL: "eV",
    "dipole": "e·Å",
    "charges": "e",
    "length": "Å",
}
_ENERGIES: Final = ("eV", "meV", "Ha", "kcal/mol", "kJ/mol")
UNITS_OF: Final[dict[str, tuple[str, ...]]] = {
    "energy": _ENERGIES,
    "forces": ("eV/Å", "meV/Å", "Ha/Bohr", "Ha/Å", "kcal/mol/Å", "kJ/mol/Å", "kJ/mol/nm"),
    "stress": ("eV/Å³", "GPa", "kbar", "bar"),
    VIRIAL: _ENERGIES,
    "dipole": ("e·Å", "D", "a.u."),
    "charges": ("e",),
    "length": ("Å", "Bohr", "nm"),
}
_WORDS: Final = {
    "hartree": "ha",
    "angstroms": "å",
    "angstrom": "å",
    "ang": "å",
    "debye": "d",
    "au": "a.u.",
    "e*å": "e·å",
    "eå": "e·å",
    "e*a": "e·å",
    "ea": "e·å",
    "ebohr": "a.u.",
    "e*bohr": "a.u.",
    "a0": "bohr",
}


def spelled(quantity: str, unit: str) -> str:
    """A unit as it is spelled here: `spelled("forces", "ev/ang")` is "eV/Å".

    Args:
        quantity: a label, "virial" or "length".
        unit: any usual spelling.

    Raises:
        ConfigError: no unit of this quantity; lists those that are.
    """
    accepted = UNITS_OF[quantity]
    simple = _simplified(unit)
    for candidate in accepted:
        if simple == _simplified(candidate):
            return candidate
    raise ConfigError(f"{unit!r} is no unit of {quantity} that is known here", expected=f"one of {', '.join(accepted)}")


def factor(quantity: str, unit: str) -> float:
    """What a number in this unit is multiplied by to be in the unit of `DEFAULTS`.

    >>> round(factor("energy", "kcal/mol"), 6)
    0.043364
    """
    return _factors()[quantity][spelled(quantity, unit)]


def per_length(energy_unit: str, length_unit: str = "Å") -> str | None:
    """The unit of forces that goes with a unit of energy, if it is one that is known here."""
    try:
        return spelled("forces", f"{energy_unit}/{length_unit}")
    except ConfigError:
        return None


def _simplified(unit: str) -> str:
    text = unicodedata.normalize("NFKC", unit).lower().replace(" ", "").replace("^", "").replace("**", "")
    text = text.replace("⋅", "·").replace("ų", "å3")
    parts = [_WORDS.get(part, part) for part in text.split("/")]
    # ASE and others write A for Å where a length is meant
    parts = ["å" + part[1:] if part in ("a", "a3") else part for part in parts]
    parts = [part.replace("angstrom", "å").replace("ang", "å") for part in parts]
    return "/".join(parts)


@cache
def _factors() -> dict[str, dict[str, float]]:
    from ase.units import Bohr, Debye, GPa, Hartree, kcal, kJ, mol, nm

    energies = {"eV": 1.0, "meV": 1e-3, "Ha": Hartree, "kcal/mol": kcal / mol, "kJ/mol": kJ / mol}
    return {
        "energy": energies,
        "forces": {
            "eV/Å": 1.0,
            "meV/Å": 1e-3,
            "Ha/Bohr": Hartree / Bohr,
            "Ha/Å": Hartree,
            "kcal/mol/Å": kcal / mol,
            "kJ/mol/Å": kJ / mol,
            "kJ/mol/nm": kJ / mol / nm,
        },
        "stress": {"eV/Å³": 1.0, "GPa": GPa, "kbar": 0.1 * GPa, "bar": 1e-4 * GPa},
        VIRIAL: energies,
        "dipole": {"e·Å": 1.0, "D": Debye, "a.u.": Bohr},
        "charges": {"e": 1.0},
        "length": {"Å": 1.0, "Bohr": Bohr, "nm": nm},
    }
