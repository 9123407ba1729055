"""Model files: what is written is what is read, and what is damaged is refused with its path and a remedy."""

from __future__ import annotations

import json
import os
import threading
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from molgen.errors import CheckpointError, OutputError
from molgen.interfaces import Schema
from molgen.models.checkpoint import (
    Checkpoint,
    certification,
    read_checkpoint,
    read_document,
    write_checkpoint,
)
from molgen.models.container import MAX_HEADER_BYTES
from molgen.models.document import FORMAT_VERSION, Document, document_sha256

Rewrite = Callable[[Callable[[dict], object]], Path]
MakeDocument = Callable[..., Document]
MakeTensors = Callable[[], dict[str, torch.Tensor]]


def test_what_is_written_is_what_is_read(
    small_file: Path, make_document: MakeDocument, make_tensors: MakeTensors
) -> None:
    checkpoint = read_checkpoint(small_file)
    assert checkpoint.document.model_dump(exclude={"tensors_sha256", "document_sha256"}) == make_document().model_dump(
        exclude={"tensors_sha256", "document_sha256"}
    )
    assert checkpoint.tensors.keys() == make_tensors().keys()
    for name, tensor in make_tensors().items():
        assert checkpoint.tensors[name].dtype == tensor.dtype
        assert torch.equal(checkpoint.tensors[name], tensor)
    assert checkpoint.path == small_file


def test_a_file_that_is_written_again_has_the_same_bytes(small_file: Path, tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "again.safetensors", read_checkpoint(small_file))
    assert (tmp_path / "again.safetensors").read_bytes() == small_file.read_bytes()


def test_views_and_shared_tensors_are_written_as_their_values(tmp_path: Path, make_document: MakeDocument) -> None:
    base = torch.arange(12.0).reshape(3, 4)
    tensors = {"a": base.T, "b": base, "c": base[:, 1:3]}
    write_checkpoint(tmp_path / "views.safetensors", Checkpoint(make_document(), tensors))
    read = read_checkpoint(tmp_path / "views.safetensors").tensors
    assert all(torch.equal(read[name], tensors[name]) for name in tensors)


def test_the_document_alone_is_read_without_the_tensors(small_file: Path) -> None:
    assert read_document(small_file) == read_checkpoint(small_file).document


def test_the_safetensors_library_reads_our_files(small_file: Path, make_tensors: MakeTensors) -> None:
    from safetensors.torch import load_file

    assert torch.equal(load_file(small_file)["encoder.weight"], make_tensors()["encoder.weight"])


def test_schemas_survive_the_file(small_file: Path) -> None:
    assert Schema.from_dict(read_document(small_file).schema) == Schema((1, 6, 7, 8), {5: 3, 18: 40})


@pytest.mark.parametrize(
    ("name", "reason"), [("nothing.safetensors", "does not exist"), ("", "is a folder"), ("pipe", "no regular file")]
)
def test_what_is_no_file_is_refused_without_waiting(tmp_path: Path, name: str, reason: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(CheckpointError, match=reason) as caught:
        read_checkpoint(tmp_path / name)
    assert str(tmp_path) in str(caught.value)


def test_a_folder_is_refused_with_the_model_files_in_it(small_file: Path) -> None:
    with pytest.raises(CheckpointError, match=r"small\.safetensors"):
        read_checkpoint(small_file.parent)


@pytest.mark.parametrize("content", [b"", b"abc", b"{" * 200, b"PK\x03\x04" + bytes(100), b"<!DOCTYPE html>" * 9])
def test_other_files_are_refused_with_path_and_remedy(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "other").write_bytes(content)
    with pytest.raises(CheckpointError) as caught:
        read_checkpoint(tmp_path / "other")
    assert str(tmp_path / "other") in str(caught.value)
    assert caught.value.remedy


def test_every_truncation_is_refused(small_file: Path) -> None:
    data = small_file.read_bytes()
    for length in range(0, len(data), 7):
        small_file.write_bytes(data[:length])
        with pytest.raises(CheckpointError):
            read_checkpoint(small_file)


def test_appended_bytes_are_refused(small_file: Path) -> None:
    small_file.write_bytes(small_file.read_bytes() + b"\0")
    with pytest.raises(CheckpointError, match="and the file has"):
        read_checkpoint(small_file)


def test_a_flipped_bit_of_a_tensor_is_refused(small_file: Path) -> None:
    data = bytearray(small_file.read_bytes())
    data[-3] ^= 1
    small_file.write_bytes(data)
    with pytest.raises(CheckpointError, match="altered: its tensors"):
        read_checkpoint(small_file)


@pytest.mark.parametrize("claimed", [2**60, 2**64 - 1, 2**63, MAX_HEADER_BYTES + 1, 10_000])
def test_a_header_that_claims_more_than_there_is_costs_nothing(small_file: Path, claimed: int) -> None:
    small_file.write_bytes(claimed.to_bytes(8, "little") + small_file.read_bytes()[8:])
    tracemalloc.start()
    with pytest.raises(CheckpointError, match=str(claimed)):
        read_checkpoint(small_file)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**20


@pytest.mark.parametrize(
    ("shape", "offsets"),
    [
        ([2**60], [0, 2**62]),
        ([2**60, 0], [0, 0]),
        ([-1, -6], [0, 24]),
        ([3, 2], [-24, 0]),
        ([3, 2], [24, 0]),
        ([3, 2], [0, 24.0]),
        ([True, 6], [0, 24]),
        ([1] * 40, [0, 4]),
        ("32", [0, 24]),
        ([3, 2], [0, 24, 48]),
        ([3, 2], [4, 28]),
    ],
)
def test_impossible_tensors_are_refused(rewrite: Rewrite, shape: object, offsets: object) -> None:
    path = rewrite(lambda header: header["encoder.weight"].update(shape=shape, data_offsets=offsets))
    with pytest.raises(CheckpointError, match="header is damaged"):
        read_checkpoint(path)


def test_overlapping_tensors_are_refused(rewrite: Rewrite) -> None:
    path = rewrite(lambda header: header.update(twin=dict(header["encoder.weight"])))
    with pytest.raises(CheckpointError, match="gap or overlaps"):
        read_checkpoint(path)


def test_unknown_dtypes_are_refused(rewrite: Rewrite) -> None:
    with pytest.raises(CheckpointError, match="dtype other than"):
        read_checkpoint(rewrite(lambda header: header["encoder.weight"].update(dtype="OBJECT")))


def test_a_dtype_of_equal_size_is_told_from_the_one_that_was_written(rewrite: Rewrite) -> None:
    with pytest.raises(CheckpointError, match="altered: its tensors"):
        read_checkpoint(rewrite(lambda header: header["encoder.weight"].update(dtype="I32")))


def test_safetensors_of_other_programs_are_told_so(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(2)}, tmp_path / "other.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match="not a molgen model"):
        read_checkpoint(tmp_path / "other.safetensors")


def _forge(rewrite: Rewrite, edit: Callable[[dict], object], *, sign: bool = True) -> Path:
    """A file whose document says something else, with a hash that fits it."""

    def change(header: dict) -> None:
        document = json.loads(header["__metadata__"]["molgen"])
        edit(document)
        if sign:
            document["document_sha256"] = document_sha256(document)
        header["__metadata__"]["molgen"] = json.dumps(document)

    return rewrite(change)


def test_an_edited_document_is_refused(rewrite: Rewrite) -> None:
    path = _forge(rewrite, lambda document: document.update(name="other"), sign=False)
    with pytest.raises(CheckpointError, match="altered: its document"):
        read_checkpoint(path)


def test_a_newer_format_is_refused_with_both_versions(rewrite: Rewrite) -> None:
    path = _forge(rewrite, lambda document: document.update(format_version=FORMAT_VERSION + 7, more=[]))
    with pytest.raises(CheckpointError, match=rf"version {FORMAT_VERSION + 7}.*up to {FORMAT_VERSION}.*update"):
        read_checkpoint(path)


def test_an_older_format_is_brought_up_to_date(rewrite: Rewrite, monkeypatch: pytest.MonkeyPatch) -> None:
    from molgen.models import checkpoint

    path = _forge(rewrite, lambda document: document.update(title=document.pop("name")))
    monkeypatch.setattr(checkpoint, "FORMAT_VERSION", FORMAT_VERSION + 1)
    monkeypatch.setitem(checkpoint._MIGRATIONS, FORMAT_VERSION, lambda old: old | {"name": old.pop("title")})
    assert read_checkpoint(path).document.name == "small"


@pytest.mark.parametrize(
    ("edit", "place"),
    [
        (lambda d: d.update(surprise=1), "surprise"),
        (lambda d: d.update(format_version=0), "format version"),
        (lambda d: d.update(format_version=True), "format version"),
        (lambda d: d.update(task="oracle"), "task"),
        (lambda d: d.update(name="red\x1b[31m"), "name"),
        (lambda d: d.update(name="x" * 10_000), "name"),
        (lambda d: d["components"].pop("sampler"), "sampler"),
        (lambda d: d["components"]["encoder"].update(use="os.system"), "components.encoder.use"),
        (lambda d: d["components"]["encoder"].update(use="a b:c; rm -rf"), "components.encoder.use"),
        (lambda d: d["components"]["encoder"].update(use="x" * 101 + ":y"), "components.encoder.use"),
        (lambda d: d["components"]["encoder"].update(component_version="new"), "component_version"),
        (lambda d: d["schema"].update(elements=[]), "schema.elements"),
        (lambda d: d["schema"].update(elements=[119]), "schema.elements"),
        (lambda d: d["schema"].update(elements=[6, 6]), "schema.elements"),
        (lambda d: d["schema"].update(size_counts={"-3": 1}), "schema.size_counts"),
        (lambda d: d["schema"].update(size_counts={}), "schema.size_counts"),
        (lambda d: d["schema"].update(extra=1), "extra"),
        (lambda d: d["process"].update(sigma_min=20.0), "sigma_min"),
        (lambda d: d["process"]["codecs"]["species"].update(kind="guess"), "kind"),
        (lambda d: d["process"]["codecs"]["species"].update(extra=1), "extra"),
        (lambda d: d["statistics"].update(sigma_data=0), "sigma_data"),
        (lambda d: d.update(tensors_sha256="no"), "tensors_sha256"),
        (lambda d: d.update(training=[[[]]]), "training"),
    ],
)
def test_documents_that_are_not_valid_are_refused_with_the_place(
    rewrite: Rewrite, edit: Callable[[dict], object], place: str
) -> None:
    path = _forge(rewrite, edit)
    with pytest.raises(CheckpointError, match=place) as caught:
        read_checkpoint(path)
    assert len(str(caught.value)) < 600
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        "{}",
        "[" * 100_000,
        '{"format_version": 1, "a": ' + "[" * 100 + "]" * 100 + "}",
        '{"format_version": 1, "format_version": 1}',
        '{"format_version": NaN}',
        '{"format_version": 1e999}',
        '{"format_version": ' + "9" * 5000 + "}",
        '{"format_version": 1, "name": "\\ud800"}',
        '{"format_version": 1, "name": ' + '"x"' * 3_000,
    ],
)
def test_texts_that_are_no_document_are_refused(rewrite: Rewrite, text: str) -> None:
    path = rewrite(lambda header: header["__metadata__"].update(molgen=text))
    with pytest.raises(CheckpointError):
        read_checkpoint(path)


def test_a_key_that_stands_twice_in_the_header_is_refused(small_file: Path) -> None:
    data = small_file.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = b'{"mask": {},' + data[9 : 8 + length]
    small_file.write_bytes(len(header).to_bytes(8, "little") + header + data[8 + length :])
    with pytest.raises(CheckpointError, match="twice"):
        read_checkpoint(small_file)


def test_a_certificate_counts_only_for_the_tensors_that_it_was_made_of(small_file: Path, tmp_path: Path) -> None:
    checkpoint = read_checkpoint(small_file)
    assert certification(checkpoint.document) == (False, "not certified")
    certificate = {"tensors_sha256": checkpoint.document.tensors_sha256, "equivariance_error": 1e-12}
    certified = Checkpoint(checkpoint.document.model_copy(update={"certificate": certificate}), checkpoint.tensors)
    assert certification(write_checkpoint(tmp_path / "certified.safetensors", certified)) == (True, "certified")
    tuned = Checkpoint(certified.document, {**certified.tensors, "mask": torch.tensor([True, True])})
    holds, reason = certification(write_checkpoint(tmp_path / "tuned.safetensors", tuned))
    assert not holds
    assert "other tensors" in reason


def test_what_could_not_be_read_again_leaves_the_old_file(
    small_file: Path, make_document: MakeDocument, make_tensors: MakeTensors
) -> None:
    before = small_file.read_bytes()
    document = make_document()
    deep: dict = {}
    for _ in range(100):
        deep = {"a": deep}
    for bad in (
        Checkpoint(document.model_copy(update={"training": deep}), make_tensors()),
        Checkpoint(document.model_copy(update={"name": ""}), make_tensors()),
        Checkpoint(document, {"phase": torch.zeros(2, dtype=torch.complex64)}),
    ):
        with pytest.raises(CheckpointError):
            write_checkpoint(small_file, bad)
    assert small_file.read_bytes() == before


def test_a_place_that_can_not_be_written_is_an_output_error(
    tmp_path: Path, make_document: MakeDocument, make_tensors: MakeTensors
) -> None:
    with pytest.raises(OutputError):
        write_checkpoint(tmp_path / "no" / "folder.safetensors", Checkpoint(make_document(), make_tensors()))
    assert list(tmp_path.iterdir()) == []


def test_a_reader_never_sees_half_a_file(small_file: Path) -> None:
    checkpoint = read_checkpoint(small_file)
    done = threading.Event()

    def write() -> None:
        for seed in range(20):
            document = checkpoint.document.model_copy(update={"seed": seed})
            write_checkpoint(small_file, Checkpoint(document, checkpoint.tensors))
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    while not done.is_set():
        read_checkpoint(small_file)
    writer.join()
    assert read_document(small_file).seed == 19


def test_numbers_that_json_can_not_hold_are_refused_when_the_document_is_made(make_document: MakeDocument) -> None:
    with pytest.raises(ValueError, match="finite"):
        make_document(training={"loss": [1.0, float("nan")]})
    import numpy as np

    document = make_document(training={"loss": (np.float32(0.5), np.int64(3), True)})
    assert document.training == {"loss": [0.5, 3, True]}
    assert [type(x) for x in document.training["loss"]] == [float, int, bool]  # type: ignore[union-attr]
