"""The files of an evaluation: errors as JSON, and predictions beside labels as extended xyz."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from molgen.atomic import atomic_path, write_atomically
from molgen.data.label_names import ATOM_LABELS
from molgen.evaluation.evaluation import Evaluation

__all__ = ["write_evaluation", "write_predictions"]


def write_evaluation(path: str | Path, evaluation: Evaluation) -> None:
    """Write `Evaluation.to_json`.

    Raises:
        OutputError: the place can't be written.
    """
    write_atomically(path, json.dumps(evaluation.to_json(), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_predictions(path: str | Path, evaluation: Evaluation) -> None:
    """Write every structure with its labels (REF_energy, REF_forces, …) and predictions (energy, forces, …).

    The key `structure` is the number in the data. Units are eV, eV/Å, eV/Å³, e·Å and e.

    Raises:
        OutputError: the place can't be written.
    """
    from ase import Atoms
    from ase.io.extxyz import write_extxyz

    structures = evaluation.structures
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        start = 0
        for index, n in enumerate(structures.n_atoms.tolist()):
            rows = slice(start, start + n)
            start += n
            atoms = Atoms(
                numbers=structures.species[rows].numpy(),
                positions=structures.positions[rows].numpy(),
                cell=structures.cell[index].numpy(),
                pbc=structures.pbc[index].numpy(),
            )
            atoms.info["structure"] = int(evaluation.numbers[index])
            if structures.charge[index] != 0:
                atoms.info["charge"] = float(structures.charge[index])
            if structures.spin[index] != 1:
                atoms.info["spin"] = int(structures.spin[index])
            for name, label in _columns(evaluation):
                values = label[rows] if name.removeprefix("REF_") in ATOM_LABELS else label[index]
                if not torch.isfinite(values).all():
                    continue
                if name.removeprefix("REF_") in ATOM_LABELS:
                    atoms.arrays[name] = values.numpy()
                else:
                    atoms.info[name] = float(values) if values.ndim == 0 else values.reshape(-1).numpy()
            write_extxyz(file, [atoms])


def _columns(evaluation: Evaluation) -> list[tuple[str, torch.Tensor]]:
    columns = []
    for name, predicted in evaluation.predictions.items():
        labels = evaluation.structures.atom_labels if name in ATOM_LABELS else evaluation.structures.structure_labels
        columns += [(f"REF_{name}", labels[name]), (name, predicted)]
    return columns
