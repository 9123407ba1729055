"""Whatever bytes a file holds, it is read as structures or refused with an error of molgen's."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase.db import connect
from hypothesis import given, settings
from hypothesis import strategies as st

from molgen.conversion import to_ase
from molgen.data.cache import write_cache
from molgen.data.labelled import read_frames
from molgen.data.readers import read
from molgen.errors import MolgenError
from molgen.structures import Structures

SUFFIXES = ("sdf", "xyz", "extxyz", "db", "traj", "npz", "cache")
EXAMPLES = settings(max_examples=40)  # of each format

edits = st.lists(
    st.tuples(
        st.floats(0, 1, exclude_max=True),  # where
        st.integers(0, 12),  # how many bytes go
        st.one_of(
            st.binary(max_size=4),
            st.sampled_from([b"nan", b"-1", b"999999999", b"1e999", b" ", b"\n", b"Xx", b"$$$$\n", b"\xff\xfe", b"="]),
        ),
    ),
    min_size=1,
    max_size=5,
)


class Files(dict[str, bytes]):
    def __repr__(self) -> str:
        return "the valid files"  # whose bytes would drown the report of a failure


@pytest.fixture(scope="module")
def valid(small: Structures, sdf: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """A small valid file of each format."""
    folder = tmp_path_factory.mktemp("valid")
    few = small.select([0, 13, 23])
    frames = to_ase(few)
    plain = "".join(
        f"{len(frame)}\n\n" + "".join(f"{atom.symbol} {atom.x} {atom.y} {atom.z}\n" for atom in frame)
        for frame in frames
    )
    (folder / "few.xyz").write_text(plain)
    ase.io.write(folder / "few.extxyz", frames)
    ase.io.write(folder / "few.traj", frames)
    with connect(folder / "few.db") as database:
        for frame in frames:
            database.write(frame)
    np.savez(folder / "few.npz", pos=few.positions.numpy(), Z=few.species.numpy(), n_atoms=few.n_atoms.numpy())
    write_cache([few], folder / "few.cache")
    (folder / "few.sdf").write_text("".join(sdf.read_text().partition("ammonia\n")[0]))
    return Files({suffix: (folder / f"few.{suffix}").read_bytes() for suffix in SUFFIXES})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzzed")


def read_or_refuse(folder: Path, suffix: str, data: bytes) -> None:
    path = folder / f"fuzzed.{suffix}"
    path.write_bytes(data)
    for reader in (read, read_with_labels):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            structures, message = attempt(reader, path)
        if structures is None:
            assert str(path) in message
            assert len(message) < 2000
        else:
            structures.check()
            assert len(structures) > 0


def read_with_labels(path: Path) -> Structures:
    return read_frames(path).structures


def attempt(reader: Callable[[Path], Structures], path: Path) -> tuple[Structures | None, str]:
    try:
        return reader(path), ""
    except MolgenError as error:
        return None, str(error)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_valid_files_are_read(suffix: str, valid: dict[str, bytes], folder: Path) -> None:
    (folder / f"valid.{suffix}").write_bytes(valid[suffix])
    assert len(read(folder / f"valid.{suffix}")) == 3


@pytest.mark.parametrize("suffix", [*SUFFIXES, "unknown"])
@EXAMPLES
@given(data=st.one_of(st.binary(max_size=200), st.text(max_size=200).map(str.encode)))
def test_random_bytes_are_refused_or_read(suffix: str, data: bytes, folder: Path) -> None:
    read_or_refuse(folder, suffix, data)


@pytest.mark.parametrize("suffix", SUFFIXES)
@EXAMPLES
@given(length=st.floats(0, 1))
def test_truncated_files_are_refused_or_read(suffix: str, length: float, valid: dict[str, bytes], folder: Path) -> None:
    read_or_refuse(folder, suffix, valid[suffix][: int(length * len(valid[suffix]))])


@pytest.mark.parametrize("suffix", SUFFIXES)
@EXAMPLES
@given(changes=edits)
def test_edited_files_are_refused_or_read(
    suffix: str, changes: list[tuple[float, int, bytes]], valid: dict[str, bytes], folder: Path
) -> None:
    data = bytearray(valid[suffix])
    for where, length, replacement in changes:
        start = int(where * len(data))
        data[start : start + length] = replacement
    read_or_refuse(folder, suffix, bytes(data))


@pytest.mark.parametrize("suffix", SUFFIXES)
@EXAMPLES
@given(position=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_files_with_a_flipped_bit_are_refused_or_read(
    suffix: str, position: float, bit: int, valid: dict[str, bytes], folder: Path
) -> None:
    data = bytearray(valid[suffix])
    data[int(position * len(data))] ^= 1 << bit
    read_or_refuse(folder, suffix, bytes(data))
