"""`GeneratedMolecules`: molecules that know where they came from, and which of them are no results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from molgen.chemistry.control import control_metrics
from molgen.chemistry.metrics import METRICS, Metric, Metrics
from molgen.chemistry.molecules import Molecules
from molgen.chemistry.perception import Perceived, perceive
from molgen.chemistry.valences import D2
from molgen.generation.marks import MarkedTable
from molgen.generation.relaxed import RelaxedMolecules
from molgen.interfaces import Schema
from molgen.structures import Structures

__all__ = ["GeneratedMolecules", "reference_histograms", "reference_metrics"]


class GeneratedMolecules(Molecules):
    """What a generator gave, in the order of the molecules' indices.

    Args:
        structures: B molecules; what failed has its place, with zeros for coordinates that were not finite.
        indices: [B] the number of each molecule in the run, ascending; some are missing where a run was interrupted.
        failures: [B] why a molecule is no result, or None.
        record: of the run: model, request, plan, versions, timing, as `run.json` holds it.
        kept: [B] each, by metric, whether a molecule has what was fixed of it, where something was.
        reference: the metrics of the training data, where the model carries them.
        reference_histograms: of the training data, as `molgen.report.Histogram.to_json` writes them.
    """

    def __init__(
        self,
        structures: Structures,
        *,
        indices: Sequence[int],
        failures: Sequence[str | None],
        record: dict[str, Any],
        kept: Mapping[str, Sequence[bool]] | None = None,
        reference: Metrics | None = None,
        reference_histograms: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        super().__init__(structures)
        self.indices, self.failures = tuple(indices), tuple(failures)
        self.record = record
        self.kept = {
            name: [held and failure is None for held, failure in zip(each, failures, strict=True)]
            for name, each in (kept or {}).items()
        }
        """Of each control, whether a molecule has what was asked for; a failed one has not."""
        self.reference = reference
        self.reference_histograms = tuple(reference_histograms)
        self.relaxation: RelaxedMolecules | None = None
        """What a potential made of them, where that was asked for."""

    @property
    def relaxed(self) -> Structures | None:
        """The relaxed structures, where relaxation was asked for; what could not be relaxed stands as it was drawn."""
        return None if self.relaxation is None else self.relaxation.structures

    @property
    def strain(self) -> Tensor | None:
        """[B] eV that relaxation set free, where it was asked for; NaN where it did not converge."""
        return None if self.relaxation is None else self.relaxation.strain

    @property
    def n_asked(self) -> int:
        """How many molecules were asked for."""
        return int(self.record["request"]["n"])

    @property
    def n_results(self) -> int:
        """How many molecules came out: all but those that failed or that an interrupt left undone."""
        return sum(failure is None for failure in self.failures)

    @cached_property
    def perceived(self) -> list[Perceived]:
        """The molecule of each structure; a failed one is not looked at."""
        results = [place for place, failure in enumerate(self.failures) if failure is None]
        found = dict(zip(results, perceive(self.structures.select(results)), strict=True))
        counts = self.structures.n_atoms.tolist()
        return [
            found[place] if failure is None else _nothing(counts[place], failure)
            for place, failure in enumerate(self.failures)
        ]

    @cached_property
    def table(self) -> MarkedTable:
        """What the distance table and RDKit make of each structure: the metrics count this."""
        return MarkedTable(self.structures, self.failures)

    @cached_property
    def d2(self) -> D2:
        """Strict stability; a failed structure is unstable, with all its atoms."""
        found, failed = super().d2, torch.tensor([failure is not None for failure in self.failures], dtype=torch.bool)
        return replace(
            found,
            atom_stable=found.atom_stable & ~failed[self.structures.batch.cpu()],
            molecule_stable=found.molecule_stable & ~failed,
        )

    @property
    def metrics(self) -> Metrics:
        """The metrics of these molecules, failed ones counted, beside those of the training data."""
        return Metrics(self._measured | (self.relaxation.metrics if self.relaxation else {}), self.reference)

    @cached_property
    def _measured(self) -> dict[str, Metric]:
        measured = {metric.name: metric.measure(self, None) for metric in METRICS}
        return {name: metric for name, metric in measured.items() if metric is not None} | control_metrics(self.kept)

    @property
    def flags(self) -> list[dict[str, object]]:
        """One row per molecule, in the words of the metrics.

        `stable` (D1), `valid`, `connected`, `bonds` (where those of the SDF come from), `reason`, and `status`: "ok",
        "no bonds" where none could be perceived, "failed" where the molecule is no result; and what is `kept`.
        """
        rows: list[dict[str, object]] = []
        stable, pieces = self.table.d1.molecule_stable.tolist(), self.table.n_fragments.tolist()
        for place, (found, failure) in enumerate(zip(self.perceived, self.failures, strict=True)):
            valid = self.table.smiles[place] is not None
            status = "failed" if failure is not None else "no bonds" if found.mol is None else "ok"
            rows.append(
                {
                    "stable": stable[place],
                    "valid": valid,
                    "connected": valid and pieces[place] == 1,
                    "bonds": found.source,
                    "status": status,
                    "reason": None if status == "ok" else found.reason,
                    **{name: each[place] for name, each in self.kept.items()},
                }
            )
        return rows

    def write(self, folder: str | Path, *, overwrite: bool = False, report: bool = True) -> Path:
        """Write SDF, extended xyz, CSV, metrics, the run's record, the report, and what was relaxed.

        Args:
            folder: made if it is not there; must be empty otherwise.
            overwrite: replace molgen's own files in the folder; others are never touched.
            report: also write `report.html`.

        Returns:
            The folder.

        Raises:
            OutputError: the folder holds something already, or can't be written to.
        """
        from molgen.generation.run_folder import RunFolder
        from molgen.generation.writing import write_results

        run_folder = RunFolder(folder, overwrite=overwrite)
        try:
            write_results(self, run_folder, report=report)
        except BaseException:
            run_folder.discard()
            raise
        return run_folder.path


def reference_metrics(training: Mapping[str, Any]) -> Metrics | None:
    """The metrics of the training data that a model's document carries, or None; what is malformed is left out.

    >>> reference_metrics({"reference_metrics": {"validity": {"value": 0.97, "low": 0.96, "high": 0.98, "n": 1000}}})
    Metrics(validity=0.9700)
    """
    recorded = training.get("reference_metrics")
    if not isinstance(recorded, Mapping):
        return None
    found = {name: _metric(entry) for name, entry in recorded.items() if name in {metric.name for metric in METRICS}}
    return Metrics({name: metric for name, metric in found.items() if metric is not None}) or None


def reference_histograms(schema: Schema, training: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """What is known of the training data's distributions: atoms per molecule, and what a model's document carries."""
    counts = {str(size): count for size, count in schema.size_counts.items()}
    recorded = training.get("reference_histograms")
    others = [each for each in recorded if isinstance(each, Mapping)] if isinstance(recorded, list) else []
    return [{"title": "Atoms per molecule", "unit": "", "width": 1, "counts": counts}, *others]


def _metric(entry: object) -> Metric | None:
    if not isinstance(entry, Mapping):
        return None
    numbers = [entry.get(name) for name in ("value", "low", "high", "n")]
    if not all(isinstance(number, int | float) for number in numbers):
        return None
    value, low, high, n = numbers
    return Metric(float(value), float(low), float(high), int(n))  # type: ignore[arg-type]


def _nothing(n_atoms: int, reason: str) -> Perceived:
    none = np.zeros(0, dtype=np.int64)
    return Perceived(None, None, "none", reason, none.reshape(0, 2), none, np.zeros(n_atoms, dtype=np.int64))
