"""Durations as people write them: 90s, 20m, 8h."""

from __future__ import annotations

import re

from molgen.errors import ConfigError

__all__ = ["parse_duration"]

_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def parse_duration(text: str | float) -> float:
    """Seconds of a duration; a number without a unit is seconds.

    Raises:
        ConfigError: no positive duration.

    >>> parse_duration("20m"), parse_duration("1h30m")
    (1200.0, 5400.0)
    """
    if isinstance(text, str):
        parts = re.findall(r"(\d+(?:\.\d+)?)([smhd])", text)
        number = re.fullmatch(r"\d+(\.\d+)?", text)
        whole = "".join(value + unit for value, unit in parts) == text
        seconds = float(text) if number else sum(float(v) * _SECONDS[u] for v, u in parts) if whole else 0.0
    else:
        seconds = float(text)
    if not 0.0 < seconds < float("inf"):
        raise ConfigError(f"{text!r} is no duration", expected="a number with s, m, h or d, as in 20m")
    return seconds
