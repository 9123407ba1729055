"""Finds the installed plugins without importing any: the entry points of group `molgen`, by distribution."""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

__all__ = ["GROUP", "Found", "canonical", "find_plugins"]

GROUP: Final = "molgen"


@dataclass(frozen=True)
class Found:
    """An entry point that is installed; `problem` says why it can't even be tried."""

    distribution: str
    version: str
    name: str
    entry_point: importlib.metadata.EntryPoint | None = None
    problem: str | None = None

    @property
    def id(self) -> str:
        """`distribution:entry point`."""
        return f"{self.distribution}:{self.name}"


def canonical(distribution: str) -> str:
    """The one spelling of a distribution's name (PEP 503).

    >>> canonical("Molgen_EGNN")
    'molgen-egnn'
    """
    return re.sub(r"[-_.]+", "-", distribution).lower()


def find_plugins() -> list[Found]:
    """All entry points of group `molgen`, sorted by id; of a distribution that stands twice on the path, the first."""
    by_distribution: dict[str, list[Found]] = {}
    for distribution in importlib.metadata.distributions():
        # importlib.metadata.entry_points() would raise for all when one distribution's file is malformed.
        text = _entry_points_text(distribution)
        if f"[{GROUP}]" in text:
            found = list(_read(distribution))
            if found:
                by_distribution.setdefault(found[0].distribution, found)
    return sorted((found for group in by_distribution.values() for found in group), key=lambda found: found.id)


def _entry_points_text(distribution: importlib.metadata.Distribution) -> str:
    try:
        return distribution.read_text("entry_points.txt") or ""
    except (OSError, UnicodeDecodeError):
        return ""


def _read(distribution: importlib.metadata.Distribution) -> Iterator[Found]:
    name: str | None = None
    version: str | None = None
    try:
        name, version = distribution.metadata["Name"], distribution.metadata["Version"]
    except Exception:  # a stranger's file, and importlib.metadata documents no errors of its reading
        name = version = None
    try:
        entry_points = [point for point in distribution.entry_points if point.group == GROUP]
    except Exception as error:
        yield Found(
            canonical(name or "unknown"),
            version or "unknown",
            "entry_points.txt",
            problem=f"its entry_points.txt can't be read: {type(error).__name__}: {error}",
        )
        return
    for point in entry_points:
        problem = None
        if not name or not version:
            problem = "its METADATA is missing or has no name and version"
        elif not point.pattern.match(point.value):
            problem = f"its entry point {point.value!r} is not of the form 'package.module'"
        owner = name or point.value.split(":")[0].split(".")[0]
        yield Found(canonical(owner), version or "unknown", point.name, point, problem)
