"""Make data/organics/: enumerate small molecules, label frames of them with GFN2-xTB. Needs the extra `labels`.

A run that was killed goes on where it was when it is started again, and ends in the same files.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from organics.chunks import label_all, records
from organics.enumeration import molecules
from organics.splits import counts, dealt, isolated_atoms, write

from molgen.atomic import write_atomically
from molgen.errors import MolgenError


def main() -> None:
    """Make the files that the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("data/organics"), help="folder of the files")
    parser.add_argument("--chunks", type=Path, default=Path("runs/organics"), help="folder of what is done so far")
    parser.add_argument("--molecules", type=int, default=3000, help="how many of those enumerated")
    parser.add_argument("--processes", type=int, default=1, help="cores to use; the files do not depend on it")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    try:
        atoms = isolated_atoms()  # first, as it says at once when tblite is missing
        smiles = molecules(arguments.seed)[: arguments.molecules]
        label_all(smiles, arguments.seed, arguments.chunks, arguments.processes, told)
        labelled = list(records(smiles, arguments.seed, arguments.chunks))
        splits = dealt(labelled, arguments.seed)
        for name, size in write(splits, arguments.out).items():
            told(f"{arguments.out / name}: {size} bytes")
        write_atomically(arguments.out / "isolated_atoms.extxyz", atoms)
        print(counts(labelled, splits), end="")
    except MolgenError as error:
        sys.exit(f"{parser.prog}: {error}")


def told(line: str) -> None:
    """Print a line with the time, at once."""
    print(f"{time.strftime('%H:%M:%S')} {line}", flush=True)


if __name__ == "__main__":
    main()
