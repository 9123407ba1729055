"""The molecules of the page: a drawing of each, and the data that turns it in three dimensions."""

from __future__ import annotations

import json
import math
from html import escape

from molgen.elements import SYMBOLS
from molgen.report.content import Report
from molgen.report.depiction import drawing
from molgen.structures import Structures

__all__ = ["Gallery"]


class Gallery:
    """The first molecules of a report, those that passed most checks in front.

    Never the best of all: which molecules are shown does not depend on how good they are.
    """

    def __init__(self, report: Report) -> None:
        self.report = report
        shown = range(min(report.structures.n_structures, report.gallery))
        self.structures = report.structures.select(list(shown)).split()
        self.relaxed = None if report.relaxed is None else report.relaxed.select(list(shown)).split()
        self.order = sorted(shown, key=lambda i: (report.reasons[i] is not None, -self._passed(i)))

    def _passed(self, index: int) -> int:
        return sum(bool(values[index]) for values in self.report.flags.values())

    def drawings(self) -> str:
        """The drawings as links that select a molecule; each names the checks that it passed."""
        return "".join(self._drawing(index) for index in self.order)

    def _drawing(self, index: int) -> str:
        report, structure = self.report, self.structures[index]
        passed = [str(k) for k, values in enumerate(report.flags.values()) if values[index]]
        failed = report.reasons[index] is not None
        marks = " ".join([*passed, "failed"] if failed else passed)
        number = int(report.indices[index])
        label = f"molecule {number}, {structure.formulas()[0]}" + (", failed" if failed else "")
        return (
            f'<a class="drawing" href="#molecule-{index}" data-marks="{marks}" title="{escape(label)}">'
            f"{drawing(structure, report.smiles[index])}<span>{number}</span></a>"
        )

    def filters(self) -> str:
        """Buttons that narrow the gallery to the molecules that passed a check, or failed."""
        counts = {name: sum(bool(values[i]) for i in self.order) for name, values in self.report.flags.items()}
        choices = [("", "All", len(self.order))]
        choices += [(str(k), name, count) for k, (name, count) in enumerate(counts.items())]
        failed = sum(self.report.reasons[i] is not None for i in self.order)
        choices += [("failed", "Failed", failed)] if failed else []
        return "".join(
            f'<button type="button" data-mark="{mark}" aria-pressed="{"false" if mark else "true"}">'
            f"{escape(name)} <b>{count}</b></button>"
            for mark, name, count in choices
        )

    def data(self) -> str:
        """What the page's script needs to draw and describe the molecules, as JSON that is safe inside HTML."""
        molecules = {index: self._describe(index) for index in self.order}
        document: dict[str, object] = {"order": self.order, "molecules": molecules, "flags": list(self.report.flags)}
        if self.relaxed is not None:
            document["relaxed"] = {index: _chemiscope(self.relaxed[index]) for index in self.order}
        return json.dumps(document, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")

    def _describe(self, index: int) -> dict[str, object]:
        report, structure = self.report, self.structures[index]
        values = {name: column[index] for name, column in report.properties.items()}
        return {
            "number": int(report.indices[index]),
            "formula": structure.formulas()[0],
            "smiles": report.smiles[index],
            "reason": report.reasons[index],
            "flags": [bool(column[index]) for column in report.flags.values()],
            "properties": [[k, f"{v:.6g}"] for k, v in values.items() if v is not None and math.isfinite(v)],
            "structure": _chemiscope(structure),
        }


def _chemiscope(structure: Structures) -> dict[str, object]:
    """A structure as chemiscope reads it; without bonds, it finds them by distance."""
    names = [SYMBOLS[number] for number in structure.species.tolist()]
    positions = structure.positions.nan_to_num(0.0, 0.0, 0.0)
    centred = positions - positions.mean(0)
    axes = {axis: [round(v, 3) for v in centred[:, k].tolist()] for k, axis in enumerate("xyz")}
    described: dict[str, object] = {"size": len(names), "names": names, **axes}
    if bool(structure.bonds_known.all()):
        pairs, orders = structure.bonds.tolist(), structure.bond_orders.tolist()
        described["bonds"] = [[i, j, order] for (i, j), order in zip(pairs, orders, strict=True)]
    return described
