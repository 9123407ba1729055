"""The files of a comparison: `compare.json` after every row, and the page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from molgen.atomic import write_atomically
from molgen.errors import OutputError
from molgen.generation.comparison import COMPARED, Comparison
from molgen.report.comparison_page import ComparisonReport, Quality, write_comparison_report

if TYPE_CHECKING:
    from molgen.report.content import Estimate

__all__ = ["COMPARISON", "REPORT", "make_folder", "refuse_existing", "write_comparison"]

COMPARISON, REPORT = "compare.json", "report.html"

_TITLES = {
    "d1_atom_stability": "Stable atoms, D1",
    "d1_molecule_stability": "Stable molecules, D1",
    "validity": "Valid",
}


def refuse_existing(folder: Path) -> None:
    """Raise where a folder has a comparison already.

    Raises:
        OutputError: it has.
    """
    for name in (COMPARISON, REPORT):
        if (folder / name).exists():
            raise OutputError(f"{folder} has a {name} already", remedy="give --overwrite, or another folder")


def make_folder(folder: Path) -> None:
    """Make the folder if it is not there.

    Raises:
        OutputError: it can't be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"can't make the folder {folder}: {error.strerror}", remedy="choose another place") from error


def write_comparison(folder: Path, comparison: Comparison) -> None:
    """Write the rows that there are, as JSON and as a page.

    Raises:
        OutputError: a file can't be written.
    """
    text = json.dumps(comparison.as_dict(), indent=2, allow_nan=False) + "\n"
    write_atomically(folder / COMPARISON, text)
    write_comparison_report(folder / REPORT, _report(comparison))


def _report(comparison: Comparison) -> ComparisonReport:
    record, (head, *rows) = comparison.record, comparison.cells()
    model = record["model"]
    missing = comparison.planned - len(comparison.rows)
    subtitle = f"{record['n']} molecules of each, seed {record['seed']}" + (
        f"; {missing} of {comparison.planned} rows were not drawn" if missing else ""
    )
    return ComparisonReport(
        title=f"Samplers of {model['name']}",
        subtitle=subtitle,
        cost="evaluations of the network per molecule",
        qualities=[_quality(comparison, name) for name in COMPARED],
        head=head,
        rows=rows,
        note="95 % intervals in brackets; molecules that failed count as neither stable nor valid.",
        provenance={
            "Model": model["name"],
            "Hash": model["tensors_sha256"],
            "Samplers": "; ".join(_options(comparison)),
            "Date": record["started"],
            "Device": f"{record['device']}, {record['dtype']}, {record['threads']} threads",
            "Versions": ", ".join(f"{name} {version}" for name, version in record["versions"].items()),
        }
        | {f"Left out: {name}": reason for name, reason in comparison.refused.items()},
    )


def _quality(comparison: Comparison, metric: str) -> Quality:
    lines: dict[str, list[tuple[float, Estimate]]] = {}
    for row in comparison.rows:
        points = lines.setdefault(row.name, [])
        # a sampler that asks nothing of the network has no place on a logarithmic axis
        if metric in row.metrics and row.evaluations > 0:
            points.append((row.evaluations, row.metrics[metric]))
    return Quality(_TITLES[metric], lines, comparison.reference.get(metric))


def _options(comparison: Comparison) -> list[str]:
    """Of each name the sampler's id and all its options, once."""
    found = {row.name: f"{row.name} = {row.sampler} {json.dumps(row.options)}" for row in comparison.rows}
    return list(found.values())
