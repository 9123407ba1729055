"""Files that are whole or not there."""

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from molgen.atomic import atomic_path, write_atomically
from molgen.errors import OutputError


@pytest.fixture
def target(tmp_path: Path) -> Path:
    path = tmp_path / "weights.safetensors"
    path.write_bytes(b"the old content")
    return path


def only_the_old_file_is_left(target: Path) -> bool:
    return list(target.parent.iterdir()) == [target] and target.read_bytes() == b"the old content"


@given(data=st.one_of(st.binary(), st.text(st.characters(codec="utf-8"))))
def test_what_is_written_is_what_is_read(tmp_path_factory: pytest.TempPathFactory, data: bytes | str) -> None:
    path = tmp_path_factory.mktemp("round") / "file"
    write_atomically(path, data)
    assert path.read_bytes() == (data.encode() if isinstance(data, str) else data)


def test_an_existing_file_is_replaced_and_no_temporary_stays(target: Path) -> None:
    write_atomically(target, "new")
    assert target.read_text() == "new"
    assert list(target.parent.iterdir()) == [target]


def test_the_temporary_is_a_sibling_of_the_same_format(target: Path) -> None:
    with atomic_path(target) as temporary:
        assert temporary.parent == target.parent
        assert temporary.suffix == target.suffix
        assert temporary != target
        temporary.write_bytes(b"new")
        assert target.read_bytes() == b"the old content"
    assert target.read_bytes() == b"new"


def test_two_writers_of_one_file_do_not_share_a_temporary(target: Path) -> None:
    with atomic_path(target) as first, atomic_path(target) as second:
        first.write_bytes(b"first")
        second.write_bytes(b"second")
    assert target.read_bytes() == b"first"  # the outer block ends last


def test_a_block_that_raises_leaves_the_old_file_alone(target: Path) -> None:
    with pytest.raises(ZeroDivisionError), atomic_path(target) as temporary:
        temporary.write_bytes(b"half")
        raise ZeroDivisionError
    assert only_the_old_file_is_left(target)


def test_an_interrupt_leaves_the_old_file_alone(target: Path) -> None:
    with pytest.raises(KeyboardInterrupt), atomic_path(target) as temporary:
        temporary.write_bytes(b"half")
        raise KeyboardInterrupt
    assert only_the_old_file_is_left(target)


def test_a_block_that_writes_nothing_is_an_error(target: Path) -> None:
    with pytest.raises(OutputError), atomic_path(target):
        pass
    assert only_the_old_file_is_left(target)


def test_a_missing_input_is_not_reported_as_a_failed_output(target: Path) -> None:
    with pytest.raises(FileNotFoundError), atomic_path(target) as temporary:
        temporary.write_bytes((target.parent / "input").read_bytes())
    assert only_the_old_file_is_left(target)


def test_a_write_that_fails_half_way_is_an_error_that_names_the_file(target: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(OutputError, match=r"weights\.safetensors: file too large; .*ulimit"):
            write_atomically(target, bytes(200_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert only_the_old_file_is_left(target)


def test_a_full_disk_is_an_error_that_names_the_file(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:  # file systems that allocate late report it when flushed
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match=r"weights\.safetensors: no space left on device; free some space"):
        write_atomically(target, b"new")
    assert only_the_old_file_is_left(target)


def test_data_is_flushed_before_the_rename(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed: list[bytes] = []
    fsync = os.fsync

    def record(descriptor: int) -> None:
        flushed.append(target.read_bytes())
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", record)
    write_atomically(target, b"new")
    assert flushed == [b"the old content", b"new"]  # the file before the rename, its folder after


def test_a_folder_that_is_read_only_is_an_error_with_a_remedy(target: Path) -> None:
    with read_only(target.parent), pytest.raises(OutputError, match="permission denied; choose a place"):
        write_atomically(target, b"new")
    assert only_the_old_file_is_left(target)


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Root writes anywhere, whatever a folder's mode, so root becomes an ordinary user for a while."""
    if os.geteuid() == 0:
        os.seteuid(65534)
        try:
            yield
        finally:
            os.seteuid(0)
    else:
        folder.chmod(0o555)
        yield
        folder.chmod(0o755)


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("missing/file", "create the folder first"),
        ("weights.safetensors/file", "parent is a folder"),
        (".", "not that of a folder"),
        ("x" * 300, "shorter name"),
    ],
)
def test_a_place_that_cannot_be_is_an_error_with_a_remedy(target: Path, name: str, remedy: str) -> None:
    with pytest.raises(OutputError, match=remedy):
        write_atomically(target.parent / name, b"new")
    assert only_the_old_file_is_left(target)


def test_a_symbolic_link_keeps_pointing_to_the_file_that_is_written(target: Path) -> None:
    link = target.parent / "latest"
    link.symlink_to(target)
    write_atomically(link, b"new")
    assert link.is_symlink()
    assert target.read_bytes() == b"new"


def test_a_killed_writer_leaves_the_old_file_whole(target: Path) -> None:
    program = f"""
import os, signal
from molgen.atomic import atomic_path
with atomic_path({str(target)!r}) as temporary, temporary.open("wb") as file:
    file.write(bytes(100_000))
    file.flush()
    os.kill(os.getpid(), signal.SIGKILL)
"""
    root = Path(__file__).parents[1]
    finished = subprocess.run([sys.executable, "-c", program], cwd=root, check=False)
    assert finished.returncode == -signal.SIGKILL
    assert target.read_bytes() == b"the old content"
