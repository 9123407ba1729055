"""The files of a run: what each of them says of a molecule."""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Mapping
from typing import IO, TYPE_CHECKING, Any

from molgen.generation.frames import frames
from molgen.generation.generated import GeneratedMolecules
from molgen.generation.relaxed import COLUMNS, RelaxedMolecules
from molgen.generation.reporting import write_run_report
from molgen.generation.run_folder import RunFolder

if TYPE_CHECKING:
    from rdkit.Chem import Mol

__all__ = ["write_relaxation", "write_results"]

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
    molecules.metrics.to_json()
    molecules.record["timing"].setdefault("perception_seconds", round(time.perf_counter() - started, 3))
    provenance = _provenance(molecules.record)
    with folder.writing("molecules.sdf") as file:
        _write_sdf(file, molecules.rdkit(), rows, provenance)
    with folder.writing("molecules.extxyz") as file:
        file.writelines(frames(molecules.structures, _marks(rows, provenance)))
    folder.join_trajectories()
    _write_measured(molecules, rows, folder, report)


def write_relaxation(molecules: GeneratedMolecules, folder: RunFolder, *, report: bool) -> None:
    """Write what became of the molecules of a run beside them: relaxed structures, and the tables anew.

    Args:
        molecules: those of :func:`write_results`, relaxed since.
        folder: the same.
        report: also write `report.html` anew.

    Raises:
        OutputError: a file can't be written.
    """
    _write_measured(molecules, _rows(molecules), folder, report)


def _write_measured(
    molecules: GeneratedMolecules, rows: list[dict[str, object]], folder: RunFolder, report: bool
) -> None:
    """Write all that is not the molecules as they were drawn."""
    relaxation = molecules.relaxation
    if relaxation is not None:
        rows = [row | more for row, more in zip(rows, relaxation.rows, strict=True)]
        _write_relaxed(molecules, relaxation, folder)
    with folder.writing("molecules.csv") as file:
        columns = (*_COLUMNS, *molecules.kept, *(() if relaxation is None else COLUMNS))
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows({key: _plain(value) for key, value in row.items()} for row in rows)
    folder.write("metrics.json", molecules.metrics.to_json())
    results = {"molecules": len(molecules), "results": molecules.n_results, "asked": molecules.n_asked}
    folder.write("run.json", json.dumps(molecules.record | {"outcome": results}, indent=2, allow_nan=False) + "\n")
    folder.finish(complete=len(molecules) == molecules.n_asked)
    if report:
        write_run_report(molecules, folder.path / "report.html", rows)


def _write_relaxed(molecules: GeneratedMolecules, relaxation: RelaxedMolecules, folder: RunFolder) -> None:
    """Write the molecules that the potential took; those that did not converge are marked."""
    places = [place for place, moved in enumerate(relaxation.moved) if moved]
    structures = relaxation.structures
    described = zip(
        molecules.indices,
        relaxation.smiles,
        structures.formulas(),
        structures.n_atoms.tolist(),
        structures.structure_labels["energy"].tolist(),
        relaxation.rows,
        relaxation.perceived,
        strict=True,
    )
    rows = [
        {"index": index, "smiles": smiles, "formula": formula, "n_atoms": n_atoms, "energy": energy, **more}
        | {"bonds": found.source}
        for index, smiles, formula, n_atoms, energy, more, found in described
    ]
    mols = relaxation.rdkit()
    rows, mols = [rows[place] for place in places], [mols[place] for place in places]
    provenance = _provenance(molecules.record) | _potential(molecules.record["relaxation"])
    with folder.writing("relaxed.sdf") as file:
        _write_sdf(file, mols, rows, provenance)
    with folder.writing("relaxed.extxyz") as file:
        file.writelines(frames(structures.select(places), _marks(rows, provenance)))


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


def _potential(record: Mapping[str, Any]) -> dict[str, object]:
    """What every relaxed molecule says of its potential; nothing of one that has no file."""
    models = record["models"]
    return {
        "potential": " ".join(model["name"] for model in models) or None,
        "potential_sha256": " ".join(model["tensors_sha256"] for model in models) or None,
    }


def _marks(rows: list[dict[str, object]], provenance: dict[str, object]) -> list[dict[str, object]]:
    """What the comment line of a frame says; the frame itself tells the rest."""
    return [provenance | {k: v for k, v in row.items() if k not in ("formula", "n_atoms")} for row in rows]


def _write_sdf(
    file: IO[str], mols: list[Mol | None], rows: list[dict[str, object]], provenance: dict[str, object]
) -> None:
    from rdkit import Chem

    for mol, row in zip(mols, rows, strict=True):
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
