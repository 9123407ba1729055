"""JSON from files that nobody vouches for: no repeated keys, no NaN, no depth that could exhaust the stack."""

from __future__ import annotations

import json
import math

__all__ = ["MAX_DEPTH", "canonical", "parse", "shown"]

MAX_DEPTH = 64


def parse(text: str) -> object:
    """The value of a JSON text.

    Raises:
        ValueError: not JSON, a key twice in one object, a number that is not finite, nested too deeply, or text that
            no encoding can write (a lone surrogate).

    >>> parse('{"a": [1, 2.5]}')
    {'a': [1, 2.5]}
    >>> parse('{"a": 1, "a": 2}')
    Traceback (most recent call last):
    ValueError: the key 'a' stands twice in one object
    """
    try:
        value = json.loads(text, object_pairs_hook=_object, parse_constant=_refuse, parse_float=_finite)
    except RecursionError:
        raise ValueError(f"nested deeper than {MAX_DEPTH} levels") from None
    _check(value)
    return value


def canonical(value: object) -> bytes:
    """The one spelling of a value that hashes are taken of: sorted keys, no blanks, ASCII.

    >>> canonical({"b": 1, "a": [True, None]})
    b'{"a":[true,null],"b":1}'
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def shown(text: str, limit: int = 60) -> str:
    """A text from a file, fit for a terminal: cut, and with what is not printable escaped.

    >>> shown("red\\x1b[31m")
    'red\\\\x1b[31m'
    """
    cut = text if len(text) <= limit else text[: limit - 1] + "…"
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in cut)


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        repeated = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"the key {repeated[:60]!r} stands twice in one object")
    return found


def _refuse(constant: str) -> object:
    raise ValueError(f"{constant} is no JSON number")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"the number {text[:60]} is too large")
    return number


def _check(value: object) -> None:
    # an explicit stack, since the depth is what is in question
    stack = [(value, 1)]
    while stack:
        item, depth = stack.pop()
        if depth > MAX_DEPTH:
            raise ValueError(f"nested deeper than {MAX_DEPTH} levels")
        if isinstance(item, str):
            item.encode()  # UnicodeEncodeError, a ValueError, for lone surrogates
        elif isinstance(item, dict):
            stack += [(key, depth + 1) for key in item]
            stack += [(child, depth + 1) for child in item.values()]
        elif isinstance(item, list):
            stack += [(child, depth + 1) for child in item]
