"""Caches that are truncated, altered, from the future or inconsistent are refused, each in one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from molgen.data.cache import Cache
from molgen.data.layout import METADATA_KEY
from molgen.errors import FileFormatError


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("damaged") / "data.cache"


def header(data: bytes) -> tuple[dict[str, Any], bytes]:
    length = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def with_document(data: bytes, change: Callable[[dict[str, Any]], object]) -> bytes:
    entries, body = header(data)
    document = json.loads(entries["__metadata__"][METADATA_KEY])
    change(document)
    entries["__metadata__"][METADATA_KEY] = json.dumps(document)
    text = json.dumps(entries).encode()
    return len(text).to_bytes(8, "little") + text + body


def refused(path: Path, data: bytes, message: str | None = None, *, verify: bool = True) -> None:
    path.write_bytes(data)
    with pytest.raises(FileFormatError, match=message) as caught:
        Cache.open(path, verify=verify)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@given(length=st.floats(0, 1, exclude_max=True))
def test_a_truncated_cache_is_refused(length: float, cache: Cache, place: Path) -> None:
    data = cache.path.read_bytes()
    refused(place, data[: int(length * len(data))])


@given(position=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_a_flipped_bit_of_the_content_is_noticed(position: float, bit: int, cache: Cache, place: Path) -> None:
    data = bytearray(cache.path.read_bytes())
    start = 8 + int.from_bytes(data[:8], "little")
    data[start + int(position * (len(data) - start))] ^= 1 << bit
    refused(place, bytes(data))


@given(changes=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=4))
def test_a_damaged_header_is_refused_or_without_effect(
    changes: list[tuple[float, int]], cache: Cache, place: Path
) -> None:
    data = bytearray(cache.path.read_bytes())
    length = 8 + int.from_bytes(data[:8], "little")
    for position, value in changes:
        data[int(position * length)] = value
    place.write_bytes(data)
    try:
        read = Cache.open(place)
    except FileFormatError:
        return
    assert torch.equal(read.structures(range(len(read))).positions, cache.structures(range(len(cache))).positions)


@given(data=st.binary(max_size=300))
def test_random_bytes_are_no_cache(data: bytes, place: Path) -> None:
    refused(place, data)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("format_version", 3, "has format 3.*update molgen"),
        ("isolated_energies", {"1": -13.0}, "fingerprint"),
        ("isolated_energies", {"0": -13.0}, "isolated_energies"),
        ("format_version", "one", "format_version"),
        ("n_structures", 54, "doesn't fit"),
        ("n_atoms", 543, "doesn't fit"),
        ("n_bonds", 1, "doesn't fit"),
        ("n_bonds_known", 3, "bonds are known of"),
        ("elements", [1, 6, 7], "elements"),
        ("precision", "compact", "scale"),
        ("precision", "float32", "doesn't fit"),
        ("scale", 0.1, "scale"),
        ("labels", {}, "doesn't fit"),
        ("labels", {"structure:energy": "eV", "atom:forces": "eV/Å"}, "no tensor 'atom:forces'"),
        ("labels", {"positions": "eV"}, "labels"),
        ("fingerprint", "0" * 64, "fingerprint"),
        ("unheard", 1, "unheard"),
    ],
)
def test_a_document_that_does_not_fit_is_refused(
    key: str, value: object, message: str, cache: Cache, place: Path
) -> None:
    refused(place, with_document(cache.path.read_bytes(), lambda document: document.update({key: value})), message)


def altered(cache: Cache, place: Path, name: str, index: int, value: int) -> bytes:
    """The file with one number of a U8 tensor changed."""
    entries, body = header(cache.path.read_bytes())
    start = entries[name]["data_offsets"][0]
    assert entries[name]["dtype"] == "U8"
    changed = bytearray(body)
    changed[start + index] = value
    text = json.dumps(entries).encode()
    return len(text).to_bytes(8, "little") + text + bytes(changed)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("n_atoms", 200, "atom counts"),
        ("species", 119, "elements"),
        ("n_bonds", 200, "bond counts"),
        ("bonds", 200, "a bond joins"),
    ],
)
def test_content_that_contradicts_itself_is_refused_even_unverified(
    name: str, value: int, message: str, cache: Cache, place: Path
) -> None:
    refused(place, altered(cache, place, name, 0, value), message, verify=False)


def test_other_safetensors_files_are_no_caches(place: Path) -> None:
    save_file({"positions": torch.zeros(2, 3)}, place)
    refused(place, place.read_bytes(), "no cache of molgen")


def test_a_missing_file_and_a_folder_are_told(tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match="no such file"):
        Cache.open(tmp_path / "missing.cache")
    with pytest.raises(FileFormatError, match=str(tmp_path)):
        Cache.open(tmp_path)
