"""Results of relaxations: what became of each structure, as a table and as files."""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, TYPE_CHECKING, Any, Final

import numpy as np
import torch

from molgen.atomic import atomic_path, write_atomically
from molgen.errors import DroppedDataWarning, InputError, OutputError, StructureError
from molgen.simulation.extended_xyz import extended_xyz
from molgen.structures import Structures

if TYPE_CHECKING:
    from ase import Atoms

__all__ = [
    "Relaxation",
    "RelaxationInterrupted",
    "Relaxations",
    "displacement",
    "refuse_existing",
    "refuse_unwritable",
    "writable_format",
]

_HEADS: Final = ("structure", "formula", "steps", "E before eV", "E after eV", "max force", "RMSD Å", "")


@dataclass(frozen=True, eq=False)
class Relaxation:
    """What became of one structure."""

    atoms: Atoms  # the last good frame, with energy and forces where they could be evaluated
    steps: int
    energy_before: float  # eV; NaN where the model refused the structure
    energy_after: float  # eV
    max_force: float  # eV/Å, at the end
    rmsd: float  # Å, after superposition where nothing is periodic
    converged: bool
    reason: str | None = None  # why it is not converged
    refusal: StructureError | None = field(default=None, repr=False)  # where the model could not take it as given
    bad: Atoms | None = field(default=None, repr=False)  # the frame that left reason, where one did

    @property
    def formula(self) -> str:
        """Hill formula."""
        return str(self.atoms.get_chemical_formula(mode="hill"))

    def as_row(self) -> dict[str, Any]:
        """For JSON: numbers that are not finite become None."""
        numbers = {
            "energy_before": self.energy_before,
            "energy_after": self.energy_after,
            "max_force": self.max_force,
            "rmsd": self.rmsd,
        }
        known = {name: value if math.isfinite(value) else None for name, value in numbers.items()}
        return {
            "formula": self.formula,
            "n_atoms": len(self.atoms),
            "steps": self.steps,
            **known,
            "converged": self.converged,
            "reason": self.reason,
        }


class Relaxations(Sequence[Relaxation]):
    """One `Relaxation` per structure, in order.

    Args:
        results: of the structures.
        bonded: the structures with their bonds, where these are known.
    """

    def __init__(self, results: Sequence[Relaxation], bonded: Structures | None = None) -> None:
        self._results, self._bonded = list(results), bonded

    def __getitem__(self, index: Any) -> Any:
        return self._results[index]

    def __len__(self) -> int:
        return len(self._results)

    def __iter__(self) -> Iterator[Relaxation]:
        return iter(self._results)

    @property
    def n_converged(self) -> int:
        """How many converged."""
        return sum(result.converged for result in self)

    def table(self, most: int = 100) -> str:
        """A line per structure; of more than `most` structures those alone that did not converge, and a summary."""
        rows = [_HEADS, *(_row(number, each) for number, each in enumerate(self) if len(self) <= most or each.reason)]
        widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADS) - 1)]
        lines = [
            "  ".join(
                [row[0].rjust(widths[0]), row[1].ljust(widths[1]), *map(str.rjust, row[2:-1], widths[2:]), row[-1]]
            )
            for row in rows
        ]
        return "\n".join([*(line.rstrip() for line in lines), f"{self.n_converged} of {len(self)} converged"])

    def write(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write the last frames to a file whose format its suffix tells.

        Extended xyz and what ASE knows by its suffix carry energy and forces where the format has a place for them; SDF
        has bonds, those of the input or perceived ones, and the numbers as properties. What did not converge is marked
        where the format can (`converged`, `reason`).

        Raises:
            OutputError: the file is there, or can't be written.
            InputError: no format of this suffix, or one that holds a single structure.

        Warns:
            DroppedDataWarning: cells, which SDF has no place for.
        """
        path = Path(path)
        refuse_existing(path, overwrite=overwrite)
        kind = writable_format(path, len(self))
        if kind == "sdf":
            periodic = sum(bool(each.atoms.pbc.any()) for each in self)
            if periodic:
                warnings.warn(
                    f"{path}: the cells of {periodic} periodic structures are left out, since SDF has no place for "
                    "them; write .extxyz to keep them",
                    DroppedDataWarning,
                    stacklevel=2,
                )
            text = io.StringIO()
            self._write_sdf(text)
            write_atomically(path, text.getvalue())
        else:
            _write_frames(path, kind, [self._marked(each) for each in self])
        return path

    def write_bad(self, path: Path) -> bool:
        """Write the frames that left reason as extended xyz; False where there were none."""
        bad = [result.bad for result in self if result.bad is not None]
        if bad:
            write_atomically(path, "".join(map(extended_xyz, bad)))
        return bool(bad)

    def _marked(self, result: Relaxation) -> Atoms:
        atoms: Atoms = result.atoms.copy()
        atoms.calc = result.atoms.calc
        atoms.info.pop("reason", None)  # of an earlier relaxation
        atoms.info |= {"converged": result.converged, "relaxation_steps": result.steps}
        if result.reason is not None:
            atoms.info["reason"] = result.reason
        return atoms

    def _write_sdf(self, file: IO[str]) -> None:
        from rdkit import Chem

        from molgen.chemistry.perception import perceive
        from molgen.conversion import from_ase, to_rdkit

        for number, result in enumerate(self):
            if self._bonded is not None:
                own = self._bonded.select([number]).replace(
                    positions=torch.from_numpy(result.atoms.get_positions()), structure_labels={}
                )
                mol = to_rdkit(own)[0]
            else:
                bare = result.atoms.copy()
                bare.set_constraint()
                found = perceive(from_ase(bare))[0]
                # a molecule without bonds where none could be perceived: kept, never dropped
                mol = found.mol or to_rdkit(_unbonded(from_ase(bare)))[0]
            mol = Chem.Mol(mol)
            mol.SetProp("_Name", f"{result.formula} {number}")
            file.write(Chem.MolToMolBlock(mol))
            for key, value in result.as_row().items():
                if value is not None and key not in ("formula", "n_atoms"):
                    file.write(f">  <{key}>\n{str(value).lower() if isinstance(value, bool) else value}\n\n")
            file.write("$$$$\n")


class RelaxationInterrupted(KeyboardInterrupt):
    """A signal stopped a relaxation; `results` holds what became of some of the structures."""

    def __init__(self, results: Relaxations) -> None:
        self.results = results
        super().__init__("interrupted")


def displacement(before: Atoms, after: Atoms) -> float:
    """RMSD in Å: after superposition, or for what is periodic after a common shift, at the new cell.

    NaN where a position or a cell is not finite.
    """
    start, end = before.get_positions(), after.get_positions()
    if not all(np.isfinite(rows).all() for rows in (start, end, before.cell.array, after.cell.array)):
        return float("nan")
    if before.pbc.any():
        # what the cell alone does to the atoms is no displacement
        start = start @ np.linalg.pinv(before.cell.array) @ after.cell.array if before.cell.rank == 3 else start
        moved = end - start
        return float(np.sqrt(np.square(moved - moved.mean(0)).sum(1).mean()))
    start, end = start - start.mean(0), end - end.mean(0)
    left, _, right = np.linalg.svd(start.T @ end)
    flip = np.diag([1.0, 1.0, np.sign(np.linalg.det(left @ right))])
    return float(np.sqrt(np.square(start @ left @ flip @ right - end).sum(1).mean()))


def refuse_existing(path: Path, *, overwrite: bool) -> None:
    """Refuse a place that results can't go to, before they are there.

    Raises:
        OutputError: the file is there, or its folder is not.
        InputError: no format of this suffix.
    """
    writable_format(path)
    if path.exists() and not overwrite:
        raise OutputError(f"{path} exists", remedy="replace it (--overwrite), or choose another name")
    if not path.parent.is_dir():
        raise OutputError(f"there is no folder {path.parent}", remedy="create the folder first")


def writable_format(path: Path, n_structures: int | None = None) -> str:
    """The format that a suffix stands for: "sdf", "extxyz", or another of ASE's.

    Raises:
        InputError: none that can be written, or one for a single structure where there are several.
    """
    from ase.io.formats import UnknownFileTypeError, filetype, ioformats

    if path.suffix.lower() in (".sdf", ".sd"):
        return "sdf"
    try:
        name = filetype(path.name, read=False)
    except UnknownFileTypeError:
        name = ""
    kind = ioformats.get(name)
    if kind is None or not kind.can_write:
        raise InputError(
            f"structures can't be written to {path.name!r}",
            expected=".extxyz, .sdf, or a suffix that ASE writes (.cif, .vasp, .pdb, .traj, …)",
        )
    if kind.single and n_structures is not None and n_structures > 1:
        raise InputError(
            f"{name} holds one structure, and there are {n_structures}",
            where=str(path),
            remedy="write .extxyz, which holds several",
        )
    return str(name)


def refuse_unwritable(path: Path, frames: list[Atoms]) -> None:
    """Refuse a format that can't take such structures, before they are relaxed.

    Raises:
        InputError: it holds one structure, and there are several.
        OutputError: ASE can't write them so: a molecule without a cell, say.
    """
    kind = writable_format(path, len(frames))
    if kind != "sdf":
        with TemporaryDirectory() as folder:
            _write_frames(Path(folder) / path.name, kind, frames, where=path)


def _write_frames(path: Path, kind: str, frames: list[Atoms], where: Path | None = None) -> None:
    from ase.io import write
    from ase.io.formats import open_with_compression

    with atomic_path(path) as temporary:
        try:
            if kind == "extxyz":
                with open_with_compression(str(temporary), "wb") as file:
                    file.write("".join(map(extended_xyz, frames)).encode())
                return
            write(temporary, frames if len(frames) > 1 else frames[0], format=kind)
        except OSError:
            raise
        except Exception as error:  # each of ASE's writers raises what it likes
            reason = str(error).splitlines()[0][:100] if str(error) else type(error).__name__
            raise OutputError(
                f"ASE can't write these structures as {kind}: {reason}",
                where=str(where or path),
                remedy="write .extxyz",
            ) from error


def _unbonded(structures: Structures) -> Structures:
    return structures.replace(bonds_known=torch.ones_like(structures.bonds_known), structure_labels={})


def _row(number: int, result: Relaxation) -> tuple[str, ...]:
    numbers = [
        f"{result.energy_before:.4f}",
        f"{result.energy_after:.4f}",
        f"{result.max_force:.4f}",
        f"{result.rmsd:.3f}",
    ]
    shown = ["-" if text == "nan" else text for text in numbers]
    return (
        str(number),
        result.formula,
        str(result.steps),
        *shown,
        "converged" if result.converged else result.reason or "",
    )
