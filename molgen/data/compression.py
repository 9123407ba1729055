"""Files that are compressed with gzip, bzip2 or xz are read as what they hold."""

from __future__ import annotations

import bz2
import gzip
import lzma
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, TextIO

from molgen.data.records import reason, wrong

__all__ = ["COMPRESSED", "inner_suffix", "open_binary", "open_text"]

COMPRESSED: Mapping[str, Callable[..., Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}


def inner_suffix(path: Path) -> str:
    """The suffix of what a file holds: ".xyz" of "data.xyz.xz".

    >>> inner_suffix(Path("data.xyz.xz")), inner_suffix(Path("data.npz"))
    ('.xyz', '.npz')
    """
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in COMPRESSED:
        suffixes = suffixes[:-1]
    return suffixes[-1] if suffixes else ""


@contextmanager
def open_binary(path: Path) -> Iterator[IO[bytes]]:
    """A file's bytes, decompressed while they are read.

    Raises:
        FileFormatError: the compressed file is damaged.
    """
    with _told(path), COMPRESSED.get(path.suffix.lower(), open)(path, "rb") as file:
        yield file


@contextmanager
def open_text(path: Path) -> Iterator[TextIO]:
    """A file's text without a byte-order mark, decompressed while it is read.

    Raises:
        FileFormatError: the compressed file is damaged.
    """
    opened = COMPRESSED.get(path.suffix.lower(), open)
    with _told(path), opened(path, "rt", encoding="utf-8-sig", errors="replace") as file:
        yield file


@contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except (EOFError, lzma.LZMAError, zlib.error, gzip.BadGzipFile) as error:
        raise wrong(f"the compressed file is damaged: {reason(error)}", path) from error
