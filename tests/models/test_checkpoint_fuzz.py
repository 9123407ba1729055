"""Random damage to model files: refused with a CheckpointError, or without effect."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from molgen.errors import CheckpointError
from molgen.host.registry import Registry
from molgen.interfaces import Schema
from molgen.models.assembly import assemble_generator
from molgen.models.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from molgen.models.document import Document, document_sha256
from molgen.models.restoration import restore


class Reader:
    """Reads bytes as a model file, and holds the answer against what was written."""

    def __init__(self, folder: Path, checkpoint: Checkpoint) -> None:
        self.path = folder / "fuzzed.safetensors"
        write_checkpoint(self.path, checkpoint)
        self.valid = self.path.read_bytes()
        self.written = read_checkpoint(self.path)

    def refuses(self, data: bytes) -> bool:
        """True where the bytes are refused in the right way, False where they are read as what was written."""
        self.path.write_bytes(data)
        read = self.read()
        if read is None:
            return True
        assert read.document == self.written.document
        assert read.tensors.keys() == self.written.tensors.keys()
        for name, tensor in self.written.tensors.items():
            assert read.tensors[name].dtype == tensor.dtype
            assert torch.equal(read.tensors[name], tensor)
        return False

    def read(self) -> Checkpoint | None:
        """The checkpoint, or None where it is refused in one short line."""
        try:
            return read_checkpoint(self.path)
        except CheckpointError as error:
            message = str(error)
        assert message.isprintable()
        assert len(message) < 1000
        return None

    def header(self) -> dict:
        """The header of the valid file."""
        return json.loads(self.valid[8 : 8 + int.from_bytes(self.valid[:8], "little")])

    def with_header(self, header: object) -> bytes:
        """The valid file with another header."""
        text = json.dumps(header).encode()
        return len(text).to_bytes(8, "little") + text + self.valid[8 + int.from_bytes(self.valid[:8], "little") :]


@pytest.fixture(scope="module")
def reader(
    tmp_path_factory: pytest.TempPathFactory,
    make_document: Callable[..., Document],
    make_tensors: Callable[[], dict[str, torch.Tensor]],
) -> Reader:
    return Reader(tmp_path_factory.mktemp("fuzz"), Checkpoint(make_document(), make_tensors()))


def test_flipped_bits_all_over_a_file_are_detected_or_harmless(reader: Reader) -> None:
    data = bytearray(reader.valid)
    for position in range(0, len(data), 2):
        bit = 1 << position % 8
        data[position] ^= bit
        reader.refuses(bytes(data))
        data[position] ^= bit
    assert not reader.refuses(bytes(data))


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_bytes_replaced_anywhere_are_detected_or_harmless(reader: Reader, data: st.DataObject) -> None:
    content = bytearray(reader.valid)
    for _ in range(data.draw(st.integers(1, 3))):
        position = data.draw(st.integers(0, len(content) - 1))
        content[position] = data.draw(st.integers(0, 255))
    reader.refuses(bytes(content))


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_pieces_cut_out_or_put_in_are_detected_or_harmless(reader: Reader, data: st.DataObject) -> None:
    content = reader.valid
    begin = data.draw(st.integers(0, len(content)))
    end = data.draw(st.integers(begin, min(len(content), begin + 40)))
    reader.refuses(content[:begin] + data.draw(st.binary(max_size=12)) + content[end:])


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=400))
def test_random_bytes_are_refused(reader: Reader, content: bytes) -> None:
    assert reader.refuses(content)


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=200), st.binary(max_size=64))
def test_random_headers_are_refused(reader: Reader, header: bytes, body: bytes) -> None:
    assert reader.refuses(len(header).to_bytes(8, "little") + header + body)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


def _paths(value: object, path: tuple = ()) -> list[tuple]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(p for key, item in items for p in _paths(item, (*path, key)))]


def _replaced(value: object, path: tuple, new: object) -> object:
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)  # type: ignore[call-overload]
    copy[path[0]] = _replaced(copy[path[0]], path[1:], new)
    return copy


@settings(max_examples=250, deadline=None)
@given(st.data())
def test_any_value_in_the_header_replaced_by_any_json_is_detected_or_harmless(
    reader: Reader, data: st.DataObject
) -> None:
    header = reader.header()
    path = data.draw(st.sampled_from(_paths(header)))
    reader.refuses(reader.with_header(_replaced(header, path, data.draw(_JSON))))


@pytest.fixture(scope="module")
def toy_reader(tmp_path_factory: pytest.TempPathFactory, toy_registry: Callable[..., Registry]) -> Reader:
    """A reader of a model that can be restored."""
    schema, statistics = Schema((1, 6, 8), {3: 1}), {"sigma_data": 1.3, "average_neighbors": 2.0}
    made = assemble_generator("toy", "toy", schema, statistics, source=toy_registry())
    document = made.document("toy", schema, statistics)
    return Reader(tmp_path_factory.mktemp("fuzz"), Checkpoint(document, made.module.state_dict()))


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_any_value_in_the_document_replaced_under_a_fitting_hash_gives_a_model_or_a_checkpoint_error(
    toy_reader: Reader, toy_registry: Callable[..., Registry], data: st.DataObject
) -> None:
    header = toy_reader.header()
    document = json.loads(header["__metadata__"]["molgen"])
    changed = _replaced(document, data.draw(st.sampled_from(_paths(document)[1:])), data.draw(_JSON))
    assert isinstance(changed, dict)
    try:
        changed["document_sha256"] = document_sha256(changed)
    except ValueError:  # NaN has no hash
        changed["document_sha256"] = ""
    header["__metadata__"]["molgen"] = json.dumps(changed)
    toy_reader.path.write_bytes(toy_reader.with_header(header))
    read = toy_reader.read()
    if read is not None:
        with contextlib.suppress(CheckpointError):
            assert restore(read, source=toy_registry()).module is not None
