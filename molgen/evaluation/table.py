"""Errors as a table of text, in the units that people compare."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from molgen.evaluation.errors import LabelErrors, Measured

__all__ = ["errors_table", "shown_unit"]

_HEADS: Final = ("", "RMSE", "95 %", "MAE", "95 %", "", "n", "largest", "in structure")
_LEFT: Final = (0, 5)  # columns of words


def errors_table(errors: Sequence[LabelErrors]) -> str:
    """A line per label."""
    rows = [_HEADS, *map(_row, errors)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADS))]
    lines = [
        "  ".join(
            cell.ljust(width) if column in _LEFT else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    return "\n".join(lines)


def shown_unit(unit: str) -> tuple[str, float]:
    """The thousandth of a unit, and what a number in the unit is multiplied by.

    >>> shown_unit("eV/Å")
    ('meV/Å', 1000.0)
    """
    return f"m{unit}", 1e3


def _row(errors: LabelErrors) -> tuple[str, ...]:
    unit, factor = shown_unit(errors.unit)
    where = str(errors.structure) if errors.atom is None else f"{errors.structure}, atom {errors.atom}"
    largest = f"{factor * errors.largest:.4g}"
    return (
        errors.title,
        f"{factor * errors.rmse.value:.4g}",
        _interval(errors.rmse, factor),
        f"{factor * errors.mae.value:.4g}",
        _interval(errors.mae, factor),
        unit,
        str(errors.rmse.n),
        largest,
        where,
    )


def _interval(measured: Measured, factor: float) -> str:
    if measured.low is None or measured.high is None:
        return "–"
    return f"{factor * measured.low:.3g}–{factor * measured.high:.3g}"
