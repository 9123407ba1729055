"""What a report says, before it becomes a page."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from molgen.errors import StructureError
from molgen.structures import Structures

__all__ = ["Estimate", "Histogram", "Report"]


class Estimate(Protocol):
    """A measured number with its 95 % interval; the metrics of `molgen.chemistry.metrics` are such."""

    @property
    def value(self) -> float: ...  # noqa: D102
    @property
    def low(self) -> float | None: ...  # noqa: D102
    @property
    def high(self) -> float | None: ...  # noqa: D102
    @property
    def n(self) -> int: ...  # noqa: D102


@dataclass(frozen=True)
class Histogram:
    """Counts of a sample, and of the reference it is compared with.

    With a `width`, the keys are integers k and a bin reaches from (k − ½)·width to (k + ½)·width; without, they are the
    names of categories. Two histograms of one title therefore always share their bins.

    >>> sample = Histogram("Elements", {"H": 3, "C": 1})
    >>> sample.against(Histogram("Elements", {"H": 5, "C": 5})).overlap()
    0.75
    """

    title: str
    counts: Mapping[Any, int]
    unit: str = ""
    width: float | None = None
    reference: Mapping[Any, int] | None = None

    def against(self, reference: Histogram | None) -> Histogram:
        """This sample beside the counts of another."""
        return self if reference is None else replace(self, reference=reference.counts)

    def overlap(self) -> float | None:
        """The share of the two distributions that lies on top of each other, 0 to 1; None without a reference."""
        if not self.reference or not sum(self.counts.values()) or not sum(self.reference.values()):
            return None
        n, m = sum(self.counts.values()), sum(self.reference.values())
        return sum(min(count / n, self.reference.get(key, 0) / m) for key, count in self.counts.items())

    def to_json(self) -> dict[str, object]:
        """The sample as plain JSON, to be kept as the reference of later reports."""
        counts = {str(key): count for key, count in self.counts.items()}
        return {"title": self.title, "unit": self.unit, "width": self.width, "counts": counts}

    @classmethod
    def from_json(cls, stored: Mapping) -> Histogram:
        """The inverse of :meth:`to_json`.

        Raises:
            KeyError, TypeError, ValueError: it is none; model files may hold anything.
        """
        width = stored["width"]
        if width is not None and not 0 < float(width) < math.inf:
            raise ValueError(f"width is {width}")
        counts = {(str if width is None else int)(name): int(count) for name, count in dict(stored["counts"]).items()}
        if any(not 0 <= count < 2**63 for count in counts.values()):
            raise ValueError("a count is negative or absurd")
        return cls(str(stored["title"]), counts, str(stored["unit"]), None if width is None else float(width))


@dataclass(frozen=True, eq=False)
class Report:
    """B molecules and what was measured of them.

    Raises:
        StructureError: a list per molecule that has not B entries.
    """

    title: str
    structures: Structures  # [B], with the bonds that were perceived
    subtitle: str = ""
    indices: Sequence[int] = ()  # [B], the number of each molecule in its run; 0 to B − 1 if left out
    smiles: Sequence[str | None] = ()  # [B]; None where there is none
    flags: Mapping[str, Sequence[bool]] = field(default_factory=dict)  # what was checked: [B] each
    reasons: Sequence[str | None] = ()  # [B]; why a molecule failed, None where it did not
    properties: Mapping[str, Sequence[float | None]] = field(default_factory=dict)  # named with their unit: [B] each
    metrics: Mapping[str, Estimate] = field(default_factory=dict)
    reference: Mapping[str, Estimate] = field(default_factory=dict)  # the same metrics of the data
    reference_name: str = "data"
    histograms: Sequence[Histogram] = ()
    provenance: Mapping[str, str] = field(default_factory=dict)  # model, seed, sampler, steps, date, hash …
    gallery: int = 100  # the page shows that many molecules, the first ones
    relaxed: Structures | None = None  # [B], with their bonds, where the molecules were relaxed
    relaxed_reasons: Sequence[str | None] = ()  # [B]; why a relaxation did not converge, None where it did

    def __post_init__(self) -> None:
        n = self.structures.n_structures
        lists: dict[str, Sequence] = {}
        nothing = (None,) * n
        defaults = {"indices": range(n), "smiles": nothing, "reasons": nothing, "relaxed_reasons": nothing}
        for name, default in defaults.items():
            if len(getattr(self, name)) == 0:
                object.__setattr__(self, name, default)
            lists[name] = getattr(self, name)
        if self.relaxed is not None:
            lists["relaxed"] = range(len(self.relaxed))
        lists |= {f"flags[{name!r}]": values for name, values in self.flags.items()}
        lists |= {f"properties[{name!r}]": values for name, values in self.properties.items()}
        for name, values in lists.items():
            if len(values) != n:
                raise StructureError(f"{name} has {len(values)} entries", expected=f"one per structure, {n}")
