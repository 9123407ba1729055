"""`write_report`: one HTML file that needs nothing else, least of all a network."""

from __future__ import annotations

import base64
import hashlib
from html import escape
from importlib.metadata import PackageNotFoundError, distribution
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from string import Template

from molgen.atomic import write_atomically
from molgen.report import tables
from molgen.report.content import Report
from molgen.report.gallery import Gallery

__all__ = ["write_report"]


def write_report(path: Path | str, report: Report) -> None:
    """Write a report as one self-contained page: about 3.3 MB, of which 3.2 MB draw in three dimensions.

    The page asks for nothing outside itself, and forbids itself to (Content-Security-Policy). What comes from outside
    is escaped; only the page's own two scripts may run, since the policy names them by their hashes.

    Args:
        path: the page, `report.html` in a run's folder; replaced if it is there.
        report: what to show.

    Raises:
        OutputError: the place can't be written.

    >>> import tempfile
    >>> from molgen.structures import Structures
    >>> water = Structures.build([[0.0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]], [8, 1, 1])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_report(Path(folder) / "report.html", Report("Water", water))
    ...     "<title>Water</title>" in (Path(folder) / "report.html").read_text()
    True
    """
    # lone surrogates, as in names of files that are not UTF-8, become question marks
    write_atomically(path, _page(report).encode("utf-8", "replace"))


def _page(report: Report) -> str:
    gallery = Gallery(report)
    library, script = _inline(_chemiscope()), _inline(_own("page.js"))
    n, shown = report.structures.n_structures, len(gallery.order)
    return Template(_own("page.html")).substitute(
        scripts=f"{_hash(library)} {_hash(script)}",
        title=escape(report.title),
        style=_own("page.css"),
        subtitle=escape(report.subtitle),
        provenance=tables.provenance(report.provenance),
        headlines=tables.headlines(report),
        shown=f"All {n}" if shown == n else f"The first {shown} of {n}",
        filters=gallery.filters(),
        drawings=gallery.drawings(),
        metrics=tables.metrics(report),
        histograms=tables.histograms(report) or '<p class="note">No distributions were counted.</p>',
        reference_name=escape(report.reference_name),
        failures=tables.failures(report),
        data=gallery.data(),
        library=library,
        licence=escape(_licence()) if library else "",
        script=script,
    )


def _own(name: str) -> str:
    return (files("molgen.report") / name).read_text(encoding="utf-8")


def _chemiscope() -> str:
    """Chemiscope's viewer as its distribution brings it; empty if it is not there, and the page then says so."""
    spec = find_spec("chemiscope")  # found, not imported: that would take a second
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        bundle = Path(folder) / "sphinx" / "static" / "chemiscope.min.js"
        if bundle.is_file():
            return bundle.read_text(encoding="utf-8")
    return ""


def _licence() -> str:
    try:
        found = distribution("chemiscope")
    except PackageNotFoundError:
        return ""
    return found.read_text("licenses/LICENSE") or found.read_text("LICENSE") or ""


def _inline(script: str) -> str:
    """A script that can stand inside HTML: nothing in it ends the element or opens a comment."""
    return script.replace("</script", "<\\/script").replace("<!--", "<\\!--")


def _hash(script: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
