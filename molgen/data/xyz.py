"""Structures of xyz and extended xyz files."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from molgen.data.compression import open_text
from molgen.data.frames import from_frames
from molgen.data.records import ISOTOPES, Record, converted, reason, unknown_element, wrong
from molgen.elements import NUMBERS
from molgen.structures import Structures

if TYPE_CHECKING:
    from ase import Atoms

__all__ = ["iterate_frames", "iterate_xyz"]

# a comment line of a plain xyz file may hold anything, also a stray "="; these keys mark the extended format
_EXTENDED = re.compile(r"\b(properties|lattice|pbc|energy|charge|spin)\s*=", re.IGNORECASE)
_PROPERTIES = re.compile(r"""\bproperties\s*=\s*["']?([^\s"']+)""", re.IGNORECASE)
_COLUMNS = re.compile(r"[^:]+:[RILS]:\d{1,4}")


def iterate_xyz(path: Path, chunk: int, keys: Mapping[str, str] | None = None) -> Iterator[Structures]:
    """The frames of an xyz file: symbols or atomic numbers and positions, and in extended xyz what ASE reads.

    Raises:
        FileFormatError: names frame and line of what is truncated, no number, or no element.
    """
    return converted(iterate_frames(path), path, chunk, lambda frames: from_frames(frames, keys or {}, path))


def iterate_frames(path: Path) -> Iterator[Record[Atoms]]:
    """The frames as ASE has them, with whatever else an extended file says of them.

    Raises:
        FileFormatError: as `iterate_xyz`.
    """
    extended_file = path.suffix.lower() == ".extxyz"
    for number, (line, comment, rows) in enumerate(_blocks(path)):
        where = f"structure {number}, line {line}"
        extended = extended_file or _EXTENDED.search(comment)
        frame = _extended(path, where, comment, rows) if extended else _plain(path, number, line + 2, rows)
        yield Record(where, frame)


def _blocks(path: Path) -> Iterator[tuple[int, str, list[str]]]:
    """Line number, comment and atom lines of each frame."""
    with open_text(path) as file:
        lines = enumerate(file, start=1)
        for start, head in lines:
            if not head.strip():
                continue
            where = f"line {start}"
            try:
                count = int(head)
            except ValueError:
                text = head.strip()[:40]
                raise wrong(f"{text!r} is no number of atoms", path, where, "a frame to start") from None
            if count < 1:
                raise wrong(f"a frame of {count} atoms", path, where, "at least one atom")
            comment = next(lines, (0, None))[1]
            rows = [] if comment is None else [line for _, line in zip(range(count), map(_text, lines), strict=False)]
            if comment is None or len(rows) < count:
                raise wrong(
                    f"the frame has {len(rows)} lines of atoms", path, where, f"{count}", "the file may be truncated"
                )
            yield start, comment, rows


def _text(numbered: tuple[int, str]) -> str:
    return numbered[1]


def _plain(path: Path, number: int, first_line: int, rows: Sequence[str]) -> Atoms:
    from ase import Atoms

    numbers, positions = [], []
    for index, row in enumerate(rows):
        where = f"structure {number}, line {first_line + index}"
        words = row.split()
        if len(words) < 4:
            raise wrong(f"{row.strip()[:60]!r} is no atom", path, where, "an element and three coordinates")
        numbers.append(_number(words[0], path, where))
        try:
            position = [float(word) for word in words[1:4]]
        except ValueError:
            raise wrong(f"{' '.join(words[1:4])[:60]!r} is no position", path, where, "three numbers") from None
        if not all(map(math.isfinite, position)):
            raise wrong("a coordinate is not a finite number", path, where)
        positions.append(position)
    return Atoms(numbers=numbers, positions=positions)


def _number(word: str, path: Path, where: str) -> int:
    number = int(word) if word.isdecimal() and len(word) < 4 else NUMBERS.get(word.capitalize(), 0)
    if not 1 <= number <= 118:
        raise unknown_element(word, path, where)
    return number


def _extended(path: Path, where: str, comment: str, rows: Sequence[str]) -> Atoms:
    from ase.io import read

    found = _PROPERTIES.search(comment)
    if found and not re.fullmatch(rf"{_COLUMNS.pattern}(:{_COLUMNS.pattern})*", found[1]):
        raise wrong(f"the columns {found[1][:60]!r} make no sense", path, where, "such as species:S:1:pos:R:3")
    text = f"{len(rows)}\n{comment.rstrip()}\n" + "".join(rows)
    try:
        return read(io.StringIO(text), format="extxyz", index=0)  # type: ignore[return-value]
    except Exception as error:  # ASE raises errors of many kinds for lines that don't fit
        if isinstance(error, KeyError) and str(error.args[0]).upper() in ISOTOPES:
            raise unknown_element(str(error.args[0]), path, where) from None
        what = f"unknown element {error}" if isinstance(error, KeyError) else reason(error)
        raise wrong(f"ASE can't read the frame: {what[:100]}", path, where) from error
