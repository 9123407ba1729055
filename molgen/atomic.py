"""Files that are whole or not there: written beside their place, flushed to the disk, then renamed onto it.

A reader never sees half a file, and a writer that is killed leaves the old file as it was.
"""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from molgen.errors import OutputError

__all__ = ["atomic_path", "write_atomically"]

_REMEDIES = {
    errno.ENOSPC: "free some space or choose another place",
    errno.EDQUOT: "free some of your quota or choose another place",
    errno.EFBIG: "raise the limit on file sizes (ulimit -f) or choose another place",
    errno.EROFS: "choose a place that can be written to",
    errno.EACCES: "choose a place that you may write to, or change its permissions",
    errno.EPERM: "choose a place that you may write to, or change its permissions",
    errno.ENOENT: "create the folder first",
    errno.ENOTDIR: "choose a place whose parent is a folder",
    errno.EISDIR: "choose a name that is not that of a folder",
    errno.ENAMETOOLONG: "choose a shorter name",
}


def write_atomically(path: Path | str, data: bytes | str) -> None:
    """Write a whole file, or leave what was there.

    Args:
        path: the file to make or replace; a symbolic link is followed.
        data: its content; text is written as UTF-8, with its line ends as they are.

    Raises:
        OutputError: the place is read-only, full, not there, or not yours.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_atomically(Path(folder) / "note.txt", "methane")
    ...     (Path(folder) / "note.txt").read_text()
    'methane'
    """
    with atomic_path(path) as temporary:
        temporary.write_bytes(data.encode() if isinstance(data, str) else data)


@contextmanager
def atomic_path(path: Path | str) -> Iterator[Path]:
    """A temporary sibling to write to; it becomes `path` when the block ends, and is removed when the block raises.

    The sibling has the same suffix, for writers that choose the format by it. Writers that swallow errors (C++ streams
    do on a full disk) must not be used with it: write their text with :func:`write_atomically`.

    Args:
        path: the file to make or replace; a symbolic link is followed.

    Raises:
        OutputError: the place is read-only, full, not there, or not yours. Other exceptions of the block, and an
            OSError that names another file, pass unchanged.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with atomic_path(Path(folder) / "large.bin") as temporary, temporary.open("wb") as file:
    ...         written = [file.write(bytes(10)) for _ in range(3)]
    ...     [p.name for p in Path(folder).iterdir()]
    ['large.bin']
    """
    path = Path(path)
    target = Path(os.path.realpath(path))
    temporary = target.with_name(f".{target.stem}.{secrets.token_hex(6)}{target.suffix}")
    try:
        if target.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(target))
        yield temporary
        _flush(temporary)
        temporary.replace(target)
        # the rename itself is on the disk only once the folder is; some file systems can't sync folders
        with suppress(OSError):
            _flush(target.parent)
    except OSError as error:
        if error.filename is not None and Path(os.fsdecode(error.filename)) not in (temporary, target):
            raise
        reason = error.strerror or str(error)
        remedy = _REMEDIES.get(error.errno or 0, "choose another place")
        raise OutputError(f"can't write {path}: {reason[:1].lower()}{reason[1:]}", remedy=remedy) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
