"""The page of a comparison: what several ways give for what they cost, as plots and as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template

from molgen.atomic import write_atomically
from molgen.report import tables
from molgen.report.content import Estimate
from molgen.report.curves import COLOURS, Points, curves

__all__ = ["ComparisonReport", "Quality", "write_comparison_report"]


@dataclass(frozen=True)
class Quality:
    """One plot: a fraction from 0 to 1, of each way by its name."""

    title: str
    lines: Mapping[str, Points]
    reference: Estimate | None = None  # the same of the data


@dataclass(frozen=True)
class ComparisonReport:
    """What the page says. Everything is text of the caller's, and is escaped."""

    title: str
    subtitle: str
    cost: str  # what the lower axes say
    qualities: Sequence[Quality]
    head: Sequence[str]  # of the table; all but its first column are numbers
    rows: Sequence[Sequence[str]]
    note: str = ""
    provenance: Mapping[str, str] = field(default_factory=dict)


def write_comparison_report(path: Path | str, report: ComparisonReport) -> None:
    """Write a comparison as one self-contained page, which asks for nothing outside itself and runs no script.

    Raises:
        OutputError: the place can't be written.
    """
    # lone surrogates, as in names of files that are not UTF-8, become question marks
    write_atomically(path, _page(report).encode("utf-8", "replace"))


def _page(report: ComparisonReport) -> str:
    return Template(_own("comparison.html")).substitute(
        title=escape(report.title),
        style=_own("page.css"),
        subtitle=escape(report.subtitle),
        legend=_legend(report.qualities),
        plots="".join(_figure(quality, report.cost) for quality in report.qualities),
        note=escape(report.note),
        rows=_table(report),
        provenance=tables.provenance(report.provenance),
    )


def _own(name: str) -> str:
    return (files("molgen.report") / name).read_text(encoding="utf-8")


def _legend(qualities: Sequence[Quality]) -> str:
    names = list(qualities[0].lines) if qualities else []
    parts = [f'<i class="swatch c{number % COLOURS}"></i> {escape(name)}' for number, name in enumerate(names)]
    return " ".join(parts)


def _figure(quality: Quality, cost: str) -> str:
    drawn = curves(quality.title, cost, quality.lines, quality.reference)
    dashed = " dashed: training data" if quality.reference is not None else ""
    return f"<figure><figcaption><b>{escape(quality.title)}, %</b>{dashed}</figcaption>{drawn}</figure>"


def _table(report: ComparisonReport) -> str:
    first, *others = report.head
    head = f"<th>{escape(first)}" + "".join(f"<th class=n>{escape(name)}" for name in others)
    rows = "".join(
        f"<tr><th>{escape(name)}" + "".join(f"<td class=n>{escape(cell)}" for cell in cells)
        for name, *cells in report.rows
    )
    return f'<div class="scroll"><table><thead><tr>{head}<tbody>{rows}</table></div>'
