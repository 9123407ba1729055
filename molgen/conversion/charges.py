"""The total charge and the multiplicity of `ase.Atoms`, wherever they are written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from molgen.errors import StructureError

if TYPE_CHECKING:
    from ase import Atoms

__all__ = ["CHARGE_KEYS", "SPIN_KEYS", "charge_of", "spin_of"]

# keys of `atoms.info`
CHARGE_KEYS: Final = ("charge", "total_charge")
SPIN_KEYS: Final = ("spin", "multiplicity", "spin_multiplicity")


def charge_of(atoms: Atoms, where: str | None = None, *, default: float | None = None) -> float:
    """The total charge in e: that of `atoms.info`, or else `default`, or else the sum of the initial charges.

    Raises:
        StructureError: no number, or two keys that say different things.

    >>> from ase import Atoms
    >>> charge_of(Atoms("OH", info={"charge": -1})), charge_of(Atoms("OH"))
    (-1.0, 0.0)
    """
    given = _info_number(atoms, CHARGE_KEYS, where, "a number of elementary charges")
    if given is not None:
        return given
    if default is not None:
        return default
    if not atoms.has("initial_charges"):
        return 0.0
    # partial charges that should cancel leave a rest of rounding errors
    return round(float(atoms.get_initial_charges().sum()), 6)


def spin_of(atoms: Atoms, where: str | None = None, *, default: int = 1) -> int:
    """The multiplicity 2S + 1: that of `atoms.info`, or else `default`.

    Raises:
        StructureError: no multiplicity, or two keys that say different things.
    """
    expected = "a multiplicity 2S + 1: 1, 2, 3, …"
    given = _info_number(atoms, SPIN_KEYS, where, expected)
    if given is None:
        return default
    if given < 1 or not given.is_integer():
        key = next(key for key in SPIN_KEYS if key in atoms.info)
        raise StructureError(f"info[{key!r}] is {atoms.info[key]}", where=where, expected=expected)
    return int(given)


def _info_number(atoms: Atoms, keys: tuple[str, ...], where: str | None, expected: str) -> float | None:
    if atoms.info.keys().isdisjoint(keys):
        return None
    found = {key: _number(atoms.info[key]) for key in keys if key in atoms.info}
    for key, number in found.items():
        if not np.isfinite(number):
            raise StructureError(f"info[{key!r}] is {atoms.info[key]!r}", where=where, expected=expected)
    if len(set(found.values())) > 1:
        said = " and ".join(f"info[{key!r}] is {number:g}" for key, number in found.items())
        raise StructureError(said, where=where, remedy="keep one of them")
    return next(iter(found.values()), None)


def _number(value: object) -> float:
    """NaN for what is no single number."""
    try:
        return float(np.asarray(value).reshape(-1)[0]) if np.size(value) == 1 else float("nan")  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return float("nan")
