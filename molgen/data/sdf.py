"""Structures of MDL SDF and mol files, read record by record with RDKit."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from molgen.conversion import from_rdkit
from molgen.data.records import Record, converted, reason, wrong
from molgen.structures import Structures

if TYPE_CHECKING:
    from rdkit.Chem import Mol

__all__ = ["iterate_sdf"]

_END_OF_RECORD = "$$$$"


def iterate_sdf(path: Path, chunk: int) -> Iterator[Structures]:
    """The molecules of an SDF file with their bonds and numeric properties; valences are not judged.

    Raises:
        FileFormatError: a record that is truncated or that RDKit can't read.
    """
    return converted(_molecules(path), path, chunk, from_rdkit)


def _molecules(path: Path) -> Iterator[Record[Mol]]:
    from rdkit import Chem, rdBase

    for number, (line, text) in enumerate(_texts(path)):
        where = f"structure {number}, line {line}"
        if "M  END" not in text:
            raise wrong("the record ends before its 'M  END'", path, where, remedy="the file may be truncated")
        supplier = Chem.SDMolSupplier()
        # what isn't sanitised keeps its valences: a score of bad molecules is wanted too
        supplier.SetData(text, sanitize=False, removeHs=False, strictParsing=True)
        try:
            with rdBase.BlockLogs():
                molecule = supplier[0]
        except (RuntimeError, OSError, ValueError, IndexError, UnicodeError) as error:
            raise wrong(f"RDKit can't read the record: {reason(error)}", path, where) from error
        if molecule is None:
            raise wrong("RDKit can't read the record", path, where, expected="an atom block and a bond block")
        if molecule.GetNumAtoms() == 0:
            raise wrong("the record has no atoms", path, where)
        yield Record(where, molecule)


def _texts(path: Path) -> Iterator[tuple[int, str]]:
    """Line number and text of each record."""
    lines: list[str] = []
    start = 1
    with path.open(encoding="utf-8", errors="replace") as file:
        for number, line in enumerate(file, start=1):
            lines.append(line)
            if line.startswith(_END_OF_RECORD):
                yield start, "".join(lines)
                lines, start = [], number + 1
    rest = "".join(lines)
    if rest.strip():
        yield start, rest
