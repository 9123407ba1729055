"""Symbols and atomic numbers, without a chemistry library: every room names elements by symbol in its errors."""

from __future__ import annotations

from molgen.errors import StructureError, nearest

__all__ = ["NUMBERS", "SYMBOLS", "number_of"]

_BY_NUMBER = (
    "X H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br Kr Rb "
    "Sr Y Zr Nb Mo Tc Ru Rh Pd Ag Cd In Sn Sb Te I Xe Cs Ba La Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho Er Tm Yb Lu Hf "
    "Ta W Re Os Ir Pt Au Hg Tl Pb Bi Po At Rn Fr Ra Ac Th Pa U Np Pu Am Cm Bk Cf Es Fm Md No Lr Rf Db Sg Bh "
    "Hs Mt Ds Rg Cn Nh Fl Mc Lv Ts Og"
)

# SYMBOLS[6] == "C"; index 0 is no element
SYMBOLS: tuple[str, ...] = tuple(_BY_NUMBER.split())

NUMBERS: dict[str, int] = {symbol: number for number, symbol in enumerate(SYMBOLS) if number}


def number_of(symbol: str) -> int:
    """The atomic number of a symbol.

    Raises:
        StructureError: no such element.

    >>> number_of("C")
    6
    """
    try:
        return NUMBERS[symbol]
    except KeyError:
        raise StructureError(f"unknown element {symbol!r}", remedy=nearest(symbol, NUMBERS)) from None
