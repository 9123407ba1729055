"""Records of a file, converted some at a time; an error names the record that it is in."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Generic, TypeVar

from molgen.elements import NUMBERS
from molgen.errors import FileFormatError, StructureError, nearest
from molgen.structures import Structures

__all__ = ["ISOTOPES", "Record", "converted", "reason", "unknown_element", "wrong"]

T = TypeVar("T")
ISOTOPES: Final = {"D": "deuterium", "T": "tritium"}
_LONGEST_REASON = 200  # characters; some libraries quote the file's bytes


@dataclass(frozen=True)
class Record(Generic[T]):
    """One structure of a file as its library reads it."""

    where: str  # "structure 3, line 41": counted from 0, the line from 1
    content: T


def wrong(
    what: str, path: Path, where: str = "", expected: str | None = None, remedy: str | None = None
) -> FileFormatError:
    """The error for a file that isn't as it should be."""
    return FileFormatError(what, where=f"{path}, {where}" if where else str(path), expected=expected, remedy=remedy)


def unknown_element(word: str, path: Path, where: str) -> FileFormatError:
    """The error for a word that stands where an element should."""
    isotope = ISOTOPES.get(word.upper())
    remedy = nearest(word.capitalize(), NUMBERS)
    if isotope is not None:
        remedy = f"write {isotope} as H, with its mass in a column masses:R:1 where that matters"
    return wrong(f"unknown element {word[:20]!r}", path, where, remedy=remedy)


def reason(error: Exception) -> str:
    """What another library says is wrong, short enough for one line."""
    return (str(error) or type(error).__name__).splitlines()[0][:_LONGEST_REASON]


def converted(
    records: Iterable[Record[T]], path: Path, chunk: int, convert: Callable[[Sequence[T]], Structures]
) -> Iterator[Structures]:
    """The records as structures, `chunk` at a time.

    Raises:
        FileFormatError: there are no records, or one of them is no structure; it is named.
    """
    pending: list[Record[T]] = []
    empty = True
    for record in records:
        empty = False
        pending.append(record)
        if len(pending) == chunk:
            yield _converted_chunk(pending, path, convert)
            pending = []
    if pending:
        yield _converted_chunk(pending, path, convert)
    if empty:
        raise wrong("there are no structures in the file", path)


def _converted_chunk(
    records: Sequence[Record[T]], path: Path, convert: Callable[[Sequence[T]], Structures]
) -> Structures:
    try:
        return convert([record.content for record in records])
    except StructureError as error:
        for record in records:
            _convert_alone(record, path, convert)
        raise wrong(error.what, path, f"from {records[0].where} on", error.expected, error.remedy) from error


def _convert_alone(record: Record[T], path: Path, convert: Callable[[Sequence[T]], Structures]) -> None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the first attempt gave them already
            convert([record.content])
    except StructureError as error:
        inner = re.sub(r"^(structure|molecule) 0(, )?", "", error.where or "")
        where = f"{record.where}, {inner}" if inner else record.where
        raise wrong(error.what, path, where, error.expected, error.remedy) from error
