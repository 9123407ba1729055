"""A certificate in lines for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, TypeGuard

__all__ = ["certificate_lines"]

_TITLES: Final = {
    "force_error": "forces against differences",
    "stress_error": "stress against differences",
    "symmetry_error_float64": "equivariance, float64",
    "symmetry_error_float32": "equivariance, float32",
    "drift_float64": "energy drift, float64",
    "drift_float32": "energy drift, float32",
}
_ERRORS: Final = {"energy_per_atom": "energy", "forces": "forces", "stress": "stress", "dipole": "dipole"}


def certificate_lines(content: Mapping[str, Any]) -> list[str]:
    """The verdict, a line for each measurement, and what it was measured on.

    Args:
        content: the certificate of a document; what it lacks, or has in another form, is passed over.
    """
    return [*_head(content), *_table(_mapping(content, "measurements")), *_errors(content), *_structures(content)]


def _head(content: Mapping[str, Any]) -> Iterator[str]:
    quick = " (quick: few structures, short runs, coarse limits)" if content.get("quick") else ""
    yield f"{content.get('verdict', 'no verdict')}{quick}"
    conditions, code = _mapping(content, "conditions"), _mapping(content, "code")
    dtypes = conditions.get("dtype", "unknown dtype")
    dtypes = " and ".join(map(str, dtypes)) if isinstance(dtypes, list) else dtypes
    device = conditions.get("device", "unknown device")
    by = f"molgen {code.get('molgen', 'of unknown version')}"
    yield f"measured {content.get('date', 'at no known time')} on {device} in {dtypes} by {by}"


def _table(measurements: Mapping[str, Any]) -> Iterator[str]:
    rows = [
        (_TITLES.get(name, name.replace("_", " ")), *_cells(found))
        for name, found in measurements.items()
        if isinstance(found, Mapping)
    ]
    widths = [max((len(row[column]) for row in rows), default=0) for column in range(3)]
    for title, value, limit, rest in rows:
        yield f"{title:<{widths[0]}}  {value:<{widths[1]}}  {limit:<{widths[2]}}  {rest}".rstrip()


def _cells(found: Mapping[str, Any]) -> tuple[str, str, str]:
    value = _number(found.get("value"))
    if found.get("uncertainty") is not None:
        value += f" ± {_number(found['uncertainty'])}"
    unit = found.get("unit", "")
    limit = "" if found.get("limit") is None else f"limit {_number(found['limit'])}"
    rest = str(found.get("verdict", ""))
    further = [f"{found[name]:.3g} {unit}" for name, unit in _FURTHER.items() if _is_number(found.get(name))]
    if found.get("reason"):
        further.append(str(found["reason"]))
    return f"{value} {unit}".strip(), limit, rest + (f" ({', '.join(further)})" if further else "")


_FURTHER: Final = {"picoseconds": "ps", "temperature": "K"}


def _errors(content: Mapping[str, Any]) -> Iterator[str]:
    found = _mapping(content, "test_errors")
    parts = []
    for name, title in _ERRORS.items():
        errors = _mapping(_mapping(found, "errors"), name)
        value = _mapping(errors, "rmse").get("value")
        if _is_number(value):
            parts.append(f"{title} {1e3 * value:.4g} m{errors.get('unit', '')}")
    if parts:
        yield f"RMSE on {found.get('data', 'data')}, {found.get('structures', '?')} structures: {', '.join(parts)}"


def _structures(content: Mapping[str, Any]) -> Iterator[str]:
    found = _mapping(content, "structures")
    formulas, missing = found.get("formulas"), found.get("elements_missing")
    if isinstance(formulas, list):
        yield f"measured on {', '.join(map(str, formulas))} ({found.get('source', 'of unknown source')})"
    if isinstance(missing, list) and missing:
        yield f"not measured with the elements {', '.join(map(str, missing))}"


def _mapping(content: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = content.get(name)
    return found if isinstance(found, Mapping) else {}


def _number(value: object) -> str:
    if not _is_number(value):
        return "–"
    return f"{value:.2g}"


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
