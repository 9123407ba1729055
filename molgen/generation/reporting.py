"""The page of a run: what of its molecules it shows, and beside what."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from molgen.generation.generated import GeneratedMolecules
from molgen.generation.relaxed import RelaxedMolecules

if TYPE_CHECKING:
    from molgen.report import Histogram

__all__ = ["write_run_report"]


def write_run_report(molecules: GeneratedMolecules, path: Path, rows: list[dict[str, object]]) -> None:
    """Write the page of a run.

    Args:
        molecules: what was generated.
        path: of the page.
        rows: what the run's table says of each molecule.

    Raises:
        OutputError: it can't be written.
    """
    from molgen.report import Report, beside, distributions, write_report

    bonded, record, relaxation = molecules.bonded(), molecules.record, molecules.relaxation
    model = record["model"]
    results = bonded.select([place for place, row in enumerate(rows) if row["status"] != "failed"])
    flags = {name: [bool(row[name]) for row in rows] for name in ("stable", "valid", "connected")}
    histograms = beside(distributions(results), _reference_histograms(molecules))
    more: dict[str, Any] = {}
    if relaxation is not None:
        flags["bonds kept"] = [bool(kept) for kept in relaxation.kept_bonds]
        histograms += _spreads(relaxation)
        more = _relaxed(relaxation)
    report = Report(
        title=f"{len(molecules)} molecules from {model['name']}",
        structures=bonded,
        smiles=molecules.smiles,
        flags=flags,
        reasons=[None if row["reason"] is None else str(row["reason"]) for row in rows],
        metrics=molecules.metrics,
        reference=molecules.reference or {},
        reference_name="training data",
        histograms=histograms,
        provenance=_provenance(record),
        **more,
    )
    write_report(path, report)


def _relaxed(relaxation: RelaxedMolecules) -> dict[str, Any]:
    """What the page has more of molecules that were relaxed."""
    return {
        "relaxed": relaxation.bonded(),
        "relaxed_reasons": relaxation.reasons,
        "properties": {"strain (eV)": relaxation.strain.tolist(), "RMSD to relaxed (Å)": relaxation.rmsd.tolist()},
    }


def _spreads(relaxation: RelaxedMolecules) -> list[Histogram]:
    from molgen.report import spread

    strain, rmsd = relaxation.strain.tolist(), relaxation.rmsd.tolist()
    return [*spread("Strain", strain, "eV"), *spread("RMSD to relaxed", rmsd, "Å")]


def _provenance(record: Mapping[str, Any]) -> dict[str, str]:
    request, model = record["request"], record["model"]
    facts = {
        "Model": model["name"],
        "Hash": model["tensors_sha256"],
        "Sampler": f"{request['sampler']}, {request['n_steps']} steps",
        "Seed": str(request["seed"]),
    }
    if "relaxation" in record:
        used = record["relaxation"]
        named = ", ".join(f"{each['name']} {each['tensors_sha256']}" for each in used["models"])
        facts["Relaxed with"] = f"{named or 'a potential in memory'}, to {used['fmax']:g} eV/Å"
    return facts | {
        "Date": record["started"],
        "Device": f"{record['device']}, {record['dtype']}",
        "Speed": f"{record['timing']['molecules_per_second']:.3g} molecules/s",
        "Versions": ", ".join(f"{name} {version}" for name, version in record["versions"].items()),
    }


def _reference_histograms(molecules: GeneratedMolecules) -> list[Histogram]:
    from molgen.report import Histogram

    found: dict[str, Histogram] = {}
    for stored in molecules.reference_histograms:
        try:
            histogram = Histogram.from_json(stored)
        except (AttributeError, KeyError, TypeError, ValueError):
            # a model file's own notes, of no set form: a page without them is better than none
            continue
        found.setdefault(histogram.title, histogram)
    return list(found.values())
