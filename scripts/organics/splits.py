"""Deals frames to the files of the data set, by molecule, and writes them; the counts that the card states."""

from __future__ import annotations

import lzma
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import numpy as np
from rdkit import Chem

from molgen.atomic import write_atomically
from organics.files import frame_text
from organics.seeds import fraction
from organics.theory import ISOLATED_SPINS, Theory

__all__ = ["SPLITS", "counts", "dealt", "isolated_atoms", "split_of", "write"]

SPLITS: Final = ("train", "validation", "test_molecules", "test_frames")

_TRAINED: Final = 0.90  # of the molecules
_VALIDATED: Final = 0.03
_HELD_OUT: Final = 0.10  # of the frames of training molecules
_TINY: Final = 2  # heavy atoms: molecules up to this size are one of a kind, so they are always trained on
# xz for columns of digits: three bits of context from the byte before, none from the position
_FILTERS: Final = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "lc": 4, "lp": 0, "pb": 0}]


def split_of(smiles: str, seed: int) -> str:
    """The split of a molecule; it depends on nothing but the molecule and the seed.

    Args:
        smiles: canonical SMILES.
        seed: another seed deals anew.
    """
    if Chem.MolFromSmiles(smiles).GetNumHeavyAtoms() <= _TINY:
        return "train"
    drawn = fraction("split", seed, smiles)
    return "train" if drawn < _TRAINED else "validation" if drawn < _TRAINED + _VALIDATED else "test_molecules"


def dealt(records: Iterable[dict[str, Any]], seed: int) -> dict[str, list[dict[str, Any]]]:
    """The frames of each split; molecules in random order, the frames of one molecule together.

    Args:
        records: one per molecule, as `chunks.records` yields them.
        seed: of the splits and of the order.
    """
    splits: dict[str, list[dict[str, Any]]] = {name: [] for name in SPLITS}
    for record in sorted(records, key=lambda record: fraction("file", seed, record["smiles"])):
        split = split_of(record["smiles"], seed)
        for index, frame in enumerate(record["frames"]):
            held_out = split == "train" and fraction("frame", seed, record["smiles"], index) < _HELD_OUT
            splits["test_frames" if held_out else split].append({**frame, "smiles": record["smiles"]})
    return splits


def write(splits: dict[str, list[dict[str, Any]]], folder: Path) -> dict[str, int]:
    """Write the compressed files; returns the bytes of each by its name.

    Raises:
        OutputError: the place can't be written to.
    """
    folder.mkdir(parents=True, exist_ok=True)
    sizes = {}
    for name, frames in splits.items():
        data = lzma.compress("".join(frame["text"] for frame in frames).encode(), filters=_FILTERS)
        path = folder / f"{name}.extxyz.xz"
        write_atomically(path, data)
        sizes[path.name] = len(data)
    return sizes


def isolated_atoms() -> str:
    """Extended xyz of one atom each of H, C, N and O in its ground state's multiplicity, for energies of atoms.

    Raises:
        InputError: tblite is not installed.
    """
    parts = []
    for symbol, unpaired in ISOLATED_SPINS.items():
        theory = Theory(np.array([Chem.GetPeriodicTable().GetAtomicNumber(symbol)]), np.zeros((1, 3)), unpaired)
        parts.append(frame_text(theory.frame("IsolatedAtom", np.zeros((1, 3))), f"[{symbol}]", -1))
    return "".join(parts)


def counts(records: list[dict[str, Any]], splits: dict[str, list[dict[str, Any]]]) -> str:
    """What the files hold, as Markdown: splits by kind, sizes, elements, forces, what was dropped."""
    kinds = list(dict.fromkeys(frame["kind"] for frames in splits.values() for frame in frames))
    lines = [f"| file | molecules | frames | atoms | {' | '.join(kinds)} |", "|---" * (4 + len(kinds)) + "|"]
    forces: dict[str, list[np.ndarray]] = {kind: [] for kind in kinds}
    for name, frames in splits.items():
        by_kind = Counter(frame["kind"] for frame in frames)
        atoms = 0
        for frame in frames:
            rows = frame["text"].splitlines()[2:]
            atoms += len(rows)
            vectors = np.array([[float(value) for value in row.split()[4:7]] for row in rows])
            forces[frame["kind"]].append(np.linalg.norm(vectors, axis=1))
        of_molecules = len({frame["smiles"] for frame in frames})
        numbers = [of_molecules, len(frames), atoms, *(by_kind[kind] for kind in kinds)]
        lines.append(f"| {name} | " + " | ".join(map(str, numbers)) + " |")
    lines += ["", "| kind | mean force | median | 90 % | 99 % | largest |", "|---" * 6 + "|"]
    for kind in kinds:
        norms = np.concatenate(forces[kind])
        levels = [norms.mean(), *np.quantile(norms, (0.5, 0.9, 0.99, 1.0))]
        lines.append(f"| {kind} | " + " | ".join(f"{level:.2f}" for level in levels) + " |")
    kept = [Chem.MolFromSmiles(record["smiles"]) for record in records if record["frames"]]
    heavy = Counter(molecule.GetNumHeavyAtoms() for molecule in kept)
    elements = Counter(atom.GetSymbol() for molecule in kept for atom in Chem.AddHs(molecule).GetAtoms())
    dropped: Counter[str] = Counter()
    for record in records:
        dropped.update(record["dropped"])
    lines += ["", "heavy atoms: " + ", ".join(f"{size}: {count}" for size, count in sorted(heavy.items()))]
    lines += ["", "atoms of the molecules: " + ", ".join(f"{key} {value}" for key, value in elements.most_common())]
    lines += ["", f"gradients: {sum(record['gradients'] for record in records)}"]
    lines += ["", "dropped: " + ", ".join(f"{reason} {count}" for reason, count in sorted(dropped.items()))]
    return "\n".join(lines) + "\n"
