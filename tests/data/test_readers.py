"""The format of a file is found, parts of it are read, and what is none is refused in one line."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from strategies import equal

from molgen.data.cache import Cache
from molgen.data.readers import format_of, iterate, read
from molgen.errors import FileFormatError, InputError
from molgen.structures import Structures


def test_a_cache_is_read_like_any_file(cache: Cache, small: Structures) -> None:
    assert equal(read(cache.path), small)
    assert [len(part) for part in iterate(cache.path, chunk=50)] == [50, 5]


@pytest.mark.parametrize("index", [0, 54, -1, -55, slice(0, 3), slice(50, None), slice(None, None, -7), slice(5, 2)])
def test_an_index_chooses_as_in_a_list(index: int | slice, cache: Cache, small: Structures) -> None:
    chosen = range(len(small))[index]
    chosen = [chosen] if isinstance(chosen, int) else list(chosen)
    assert equal(read(cache.path, index=index), small.select(chosen))


@pytest.mark.parametrize("index", [55, -56])
def test_an_index_that_is_not_there_is_refused(index: int, sdf: Path) -> None:
    with pytest.raises(InputError, match=f"no structure {index} .*expected 0 to 54"):
        read(sdf, index=index)


def test_early_structures_are_read_before_a_broken_end(tmp_path: Path) -> None:
    path = tmp_path / "data.xyz"
    path.write_text("1\n\nH 0 0 0\n" * 1000 + "broken\n")
    assert len(read(path, index=slice(0, 1000))) == 1000
    with pytest.raises(FileFormatError):
        read(path)


def test_without_a_known_suffix_the_content_tells(sdf: Path, cache: Cache, tmp_path: Path) -> None:
    for source in (sdf, cache.path):
        shutil.copy(source, tmp_path / "data")
        assert format_of(tmp_path / "data") == format_of(source)
    (tmp_path / "data").write_text("1\n\nH 0 0 0\n")
    assert read(tmp_path / "data").formulas() == ["H"]


@pytest.mark.parametrize("name", ["data.sdf", "data.xyz", "data.extxyz", "data.db", "data.npz", "data.cache", "data"])
def test_empty_and_missing_files_are_told(name: str, tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match="no such file") as caught:
        read(tmp_path / name)
    assert name in str(caught.value)
    for content in (b"", b" \n\n"):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(FileFormatError, match="the file is empty"):
            read(tmp_path / name)


def test_an_unknown_format_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    (tmp_path / "paper.pdf").write_bytes(b"%PDF-1.7")
    with pytest.raises(FileFormatError, match=r"unknown file format .*\.extxyz.*\.sdf"):
        read(tmp_path / "paper.pdf")


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match="directory"):
        read(tmp_path)


def test_keys_where_labels_have_their_names_already_are_refused(sdf: Path) -> None:
    with pytest.raises(InputError, match="leave the keys out"):
        read(sdf, keys={"energy": "E"})


def test_parts_have_at_least_one_structure(sdf: Path) -> None:
    with pytest.raises(InputError, match="parts of 0"):
        next(iterate(sdf, chunk=0))
