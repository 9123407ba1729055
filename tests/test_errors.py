"""Messages of four parts, and a tree that is the one its docstring draws."""

from __future__ import annotations

import inspect
import re

import pytest

from molgen import errors
from molgen.errors import DroppedDataWarning, MolgenError, nearest


def classes() -> dict[str, type]:
    members = inspect.getmembers(errors, inspect.isclass)
    return {name: cls for name, cls in members if cls.__module__ == errors.__name__}


def test_the_docstring_draws_the_tree_of_exceptions() -> None:
    drawn: dict[str, str | None] = {}
    above: list[str] = []  # the names on the way down to the present line
    assert errors.__doc__ is not None
    for line in errors.__doc__.splitlines():
        found = re.match(r"    ([ │├└─]*)(\w+(?:Error))\b", line)
        if found:
            depth = len(found[1]) // 4
            above = above[:depth]
            drawn[found[2]] = above[-1] if above else None
            above.append(found[2])
    real = {name: cls.__bases__[0].__name__ for name, cls in classes().items() if issubclass(cls, MolgenError)}
    assert drawn.pop("MolgenError") is None
    assert real.pop("MolgenError") == "Exception"
    assert drawn == real


def test_every_class_is_public() -> None:
    assert set(errors.__all__) == set(classes()) | {"nearest"}


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({}, "it broke"),
        ({"where": "atom 3"}, "it broke (atom 3)"),
        ({"expected": "peace"}, "it broke; expected peace"),
        ({"remedy": "mend it"}, "it broke; mend it"),
        ({"where": "atom 3", "expected": "peace", "remedy": "mend it"}, "it broke (atom 3); expected peace; mend it"),
    ],
)
def test_a_message_has_its_four_parts_in_order_and_nothing_for_those_left_out(parts: dict, message: str) -> None:
    error = MolgenError("it broke", **parts)
    assert str(error) == message
    assert (error.where, error.expected, error.remedy) == tuple(parts.get(k) for k in ("where", "expected", "remedy"))


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("egn", "did you mean 'egnn'?"),
        ("x", "choose one of edm, egnn, karras"),
    ],
)
def test_the_nearest_name_is_named_or_else_all(name: str, remedy: str) -> None:
    assert nearest(name, ["karras", "egnn", "edm"]) == remedy


def test_there_is_no_nearest_name_of_none() -> None:
    assert nearest("x", []) is None


def test_what_is_dropped_is_a_warning_of_the_user() -> None:
    assert issubclass(DroppedDataWarning, UserWarning)
