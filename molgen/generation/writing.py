"""The files of a run: what each of them says of a molecule."""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Mapping
from typing import IO, Any

from molgen.generation.frames import frames
from molgen.generation.generated import GeneratedMolecules
from molgen.generation.run_folder import RunFolder

__all__ = ["write_results"]

_COLUMNS = ("index", "smiles", "formula", "n_atoms", "stable", "valid", "connected", "bonds", "status", "reason")


def write_results(molecules: GeneratedMolecules, folder: RunFolder, *, report: bool) -> None:
    """Write every file of a run; each appears whole, and those that an earlier run left are replaced or removed.

    Args:
        molecules: what was generated, perhaps fewer than were asked for.
        folder: where to; its trajectories are joined if it has any.
        report: also write `report.html`.

    Raises:
        OutputError: a file can't be written.
    """
    started = time.perf_counter()
    rows = _rows(molecules)
    metrics = molecules.metrics.to_json()
    timing = molecules.record["timing"] | {"perception_seconds": round(time.perf_counter() - started, 3)}
    provenance = _provenance(molecules.record)
    with folder.writing("molecules.sdf") as file:
        _write_sdf(file, molecules, rows, provenance)
    with folder.writing("molecules.extxyz") as file:
        marks = [{key: value for key, value in row.items() if key not in ("formula", "n_atoms")} for row in rows]
        file.writelines(frames(molecules.structures, [provenance | mark for mark in marks]))
    with folder.writing("molecules.csv") as file:
        writer = csv.DictWriter(file, _COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows({key: _plain(value) for key, value in row.items()} for row in rows)
    folder.write("metrics.json", metrics)
    folder.join_trajectories()
    results = {"molecules": len(molecules), "results": molecules.n_results, "asked": molecules.n_asked}
    run = molecules.record | {"timing": timing, "outcome": results}
    folder.write("run.json", json.dumps(run, indent=2, allow_nan=False) + "\n")
    folder.finish(complete=len(molecules) == molecules.n_asked)
    if report:
        _write_report(molecules, folder, rows)


def _rows(molecules: GeneratedMolecules) -> list[dict[str, object]]:
    structures = molecules.structures
    named = zip(
        molecules.indices,
        molecules.smiles,
        structures.formulas(),
        structures.n_atoms.tolist(),
        molecules.flags,
        strict=True,
    )
    return [
        {"index": index, "smiles": smiles, "formula": formula, "n_atoms": n_atoms, **flags}
        for index, smiles, formula, n_atoms, flags in named
    ]


def _provenance(record: Mapping[str, Any]) -> dict[str, object]:
    """What every molecule says of its origin, in every file that leaves the folder."""
    model, request = record["model"], record["request"]
    return {
        "model": model["name"],
        "model_sha256": model["tensors_sha256"],
        "sampler": request["sampler"],
        "steps": request["n_steps"],
        "seed": request["seed"],
    }


def _write_sdf(
    file: IO[str], molecules: GeneratedMolecules, rows: list[dict[str, object]], provenance: dict[str, object]
) -> None:
    from rdkit import Chem

    for mol, row in zip(molecules.rdkit(), rows, strict=True):
        if mol is None:
            continue
        named = Chem.Mol(mol)  # the caller's own stays without our title
        named.SetProp("_Name", f"{provenance['model']} {row['index']}")
        # written by Python, whose files raise when the disk is full; RDKit's writers do not
        file.write(Chem.MolToMolBlock(named))
        for key, value in (provenance | row).items():
            if value is not None:
                file.write(f">  <{key}>\n{_plain(value)}\n\n")
        file.write("$$$$\n")


def _plain(value: object) -> object:
    return str(value).lower() if isinstance(value, bool) else value


def _write_report(molecules: GeneratedMolecules, folder: RunFolder, rows: list[dict[str, object]]) -> None:
    from molgen.report import Report, beside, distributions, write_report

    bonded, record = molecules.bonded(), molecules.record
    request, model = record["request"], record["model"]
    results = bonded.select([place for place, row in enumerate(rows) if row["status"] != "failed"])
    facts = {
        "Model": model["name"],
        "Hash": model["tensors_sha256"],
        "Sampler": f"{request['sampler']}, {request['n_steps']} steps",
        "Seed": str(request["seed"]),
        "Date": record["started"],
        "Device": f"{record['device']}, {record['dtype']}",
        "Speed": f"{record['timing']['molecules_per_second']:.3g} molecules/s",
        "Versions": ", ".join(f"{name} {version}" for name, version in record["versions"].items()),
    }
    report = Report(
        title=f"{len(molecules)} molecules from {model['name']}",
        structures=bonded,
        smiles=molecules.smiles,
        flags={name: [bool(row[name]) for row in rows] for name in ("stable", "valid", "connected")},
        reasons=[None if row["reason"] is None else str(row["reason"]) for row in rows],
        metrics=molecules.metrics,
        reference=molecules.reference or {},
        reference_name="training data",
        histograms=beside(distributions(results), _reference_histograms(molecules)),
        provenance=facts,
    )
    write_report(folder.path / "report.html", report)


def _reference_histograms(molecules: GeneratedMolecules) -> list[Any]:
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
