"""What was measured of a model: a number, its limit, and what follows from both."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

__all__ = ["FAILS", "NOT_MEASURED", "NOT_RESOLVED", "NO_LIMIT", "PASSES", "Measurement", "overall"]

PASSES: Final = "passes"
FAILS: Final = "fails"
NOT_RESOLVED: Final = "not resolved"  # the uncertainty reaches beyond the limit: measure for longer
NO_LIMIT: Final = "no limit"  # told, not judged
NOT_MEASURED: Final = "not measured"


@dataclass(frozen=True)
class Measurement:
    """One line of a certificate."""

    value: float | None  # None where it was not measured, or is not finite
    unit: str
    limit: float | None
    verdict: str
    uncertainty: float | None = None  # one standard error
    reason: str | None = None  # why there is no value, why it is not judged, or what went wrong
    details: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def judged(
        cls, value: float, unit: str, limit: float, *, uncertainty: float = 0.0, **details: object
    ) -> Measurement:
        """A number that passes where |value| and two standard errors are below the limit.

        >>> Measurement.judged(0.004, "meV/atom/ps", 0.01, uncertainty=0.001).verdict
        'passes'
        >>> Measurement.judged(0.004, "meV/atom/ps", 0.01, uncertainty=0.01).verdict
        'not resolved'
        """
        if not math.isfinite(value):
            return cls(None, unit, limit, FAILS, None, "it is not a finite number", details)
        verdict = NOT_RESOLVED
        if abs(value) + 2 * uncertainty < limit:
            verdict = PASSES
        elif abs(value) - 2 * uncertainty >= limit:
            verdict = FAILS
        return cls(value, unit, limit, verdict, uncertainty or None, None, details)

    @classmethod
    def told(cls, value: float, unit: str, reason: str, **details: object) -> Measurement:
        """A number without a limit, and why it has none."""
        finite = value if math.isfinite(value) else None
        return cls(finite, unit, None, NO_LIMIT, None, reason, details)

    @classmethod
    def missing(cls, reason: str) -> Measurement:
        """Nothing was measured."""
        return cls(None, "", None, NOT_MEASURED, None, reason)

    def as_dict(self) -> dict[str, Any]:
        """Plain data for the certificate; fields without a value are left out."""
        found = {
            "value": self.value,
            "uncertainty": self.uncertainty,
            "unit": self.unit or None,
            "limit": self.limit,
            "verdict": self.verdict,
            "reason": self.reason,
            **self.details,
        }
        return {name: value for name, value in found.items() if value is not None}


def overall(verdicts: Iterable[str]) -> str:
    """The verdict on a model: as good as its worst measurement; what has no limit doesn't count.

    >>> overall(["passes", "no limit", "not resolved"])
    'not resolved'
    """
    found = set(verdicts)
    for verdict in (FAILS, NOT_RESOLVED, PASSES):
        if verdict in found:
            return verdict
    return NOT_MEASURED
