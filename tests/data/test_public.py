"""What the room of data offers, by name, and what it leaves to those who need it."""

from __future__ import annotations

import subprocess
import sys

import molgen.data

PUBLIC = """
    Buckets Cache CacheDocument LabelKey Labelled MemoryDataset Source Summary bonds_from_smiles every_batch iterate
    read read_labelled read_smiles split summarise with_smiles write_cache
"""


def test_the_public_names_are_these() -> None:
    assert sorted(PUBLIC.split()) == sorted(molgen.data.__all__)


def test_the_room_imports_neither_rdkit_nor_ase() -> None:
    code = "import sys, molgen.data; print([name for name in ('rdkit', 'ase') if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
