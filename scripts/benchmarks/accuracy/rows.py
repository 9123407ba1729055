"""Errors as people read them: a cell of a table, a sentence of progress."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

__all__ = ["cell", "sentence"]


def cell(values: Sequence[float], digits: int = 1) -> str:
    """`mean (lowest–highest)`, or the value where there is one.

    >>> cell([10.0, 12.0]), cell([3.14])
    ('11.0 (10.0–12.0)', '3.1')
    """
    mean = f"{statistics.mean(values):.{digits}f}"
    return mean if len(values) == 1 else f"{mean} ({min(values):.{digits}f}–{max(values):.{digits}f})"


def sentence(found: Mapping[str, Mapping[str, float]], titles: Mapping[str, str], kind: str = "rmse") -> str:
    """Errors of forces and energies of each test set.

    >>> sentence({"test": {"forces_rmse": 18.04, "energy_rmse": 5.0}}, {"test": "held out"})
    'held out F 18.0 meV/Å, E 5.0 meV (RMSE)'
    """
    parts = [
        f"{titles[name]} F {one[f'forces_{kind}']:.1f} meV/Å, E {one[f'energy_{kind}']:.1f} meV"
        for name, one in found.items()
    ]
    return f"{'; '.join(parts)} ({kind.upper()})"
