"""Units in every usual spelling, and their factors."""

from __future__ import annotations

import pytest

from molgen.data.label_units import DEFAULTS, UNITS_OF, factor, per_length, spelled
from molgen.errors import ConfigError

SPELLINGS = {
    "energy": {"ev": "eV", "MEV": "meV", "Hartree": "Ha", "kcal / mol": "kcal/mol", "kJ/mol": "kJ/mol"},
    "forces": {
        "eV/A": "eV/Å",
        "ev/angstrom": "eV/Å",
        "meV/Å": "meV/Å",
        "hartree/bohr": "Ha/Bohr",
        "Ha/a0": "Ha/Bohr",
        "kcal/mol/ang": "kcal/mol/Å",
        "kcal/mol/Angstrom": "kcal/mol/Å",
        "kJ/mol/nm": "kJ/mol/nm",
    },
    "stress": {"eV/A^3": "eV/Å³", "eV/Angstrom**3": "eV/Å³", "ev/ang3": "eV/Å³", "gpa": "GPa", "kBar": "kbar"},
    "dipole": {"e*Å": "e·Å", "eA": "e·Å", "Debye": "D", "au": "a.u."},
    "length": {"angstrom": "Å", "Ang": "Å", "A": "Å", "bohr": "Bohr", "a0": "Bohr", "NM": "nm"},
}


@pytest.mark.parametrize(
    ("quantity", "text", "unit"),
    [(quantity, text, unit) for quantity, units in SPELLINGS.items() for text, unit in units.items()],
)
def test_units_are_known_in_their_usual_spellings(quantity: str, text: str, unit: str) -> None:
    assert spelled(quantity, text) == unit


@pytest.mark.parametrize(("quantity", "unit"), [(q, u) for q, units in UNITS_OF.items() for u in units])
def test_every_unit_has_a_factor_and_the_default_has_one(quantity: str, unit: str) -> None:
    assert spelled(quantity, unit) == unit
    assert factor(quantity, unit) > 0
    assert (factor(quantity, unit) == 1) == (unit == DEFAULTS[quantity])


# CODATA 2014, as in ASE
@pytest.mark.parametrize(
    ("quantity", "unit", "value"),
    [
        ("energy", "Ha", 27.211386),
        ("energy", "kcal/mol", 0.0433641),
        ("energy", "kJ/mol", 0.0103643),
        ("forces", "Ha/Bohr", 51.422067),
        ("forces", "kJ/mol/nm", 0.00103643),
        ("stress", "GPa", 0.00624151),
        ("stress", "kbar", 0.000624151),
        ("stress", "bar", 6.24151e-7),
        ("dipole", "D", 0.2081943),
        ("dipole", "a.u.", 0.5291772),
        ("length", "nm", 10.0),
    ],
)
def test_factors_are_those_of_the_tables(quantity: str, unit: str, value: float) -> None:
    assert factor(quantity, unit) == pytest.approx(value, rel=1e-5)


def test_an_unknown_unit_is_answered_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"'Ry' is no unit of energy.*eV, meV, Ha, kcal/mol, kJ/mol"):
        spelled("energy", "Ry")
    with pytest.raises(ConfigError, match="no unit of forces"):
        spelled("forces", "")


def test_forces_have_the_unit_of_the_energy_per_length() -> None:
    assert per_length("kcal/mol") == "kcal/mol/Å"
    assert per_length("Ha") == "Ha/Å"
    assert per_length("Ry") is None
