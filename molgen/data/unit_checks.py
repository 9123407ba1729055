"""Whether the numbers of a data set fit the units that they are taken to be in."""

from __future__ import annotations

from collections.abc import Mapping

from molgen.structures import Structures


def suspicions(structures: Structures, keys: Mapping[str, str]) -> list[str]:
    """What doesn't fit, in sentences that name the keys."""
    return []
