"""The examples in the docstrings of molgen and of the plugins in this repository do what they show."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def modules() -> list[str]:
    packages = [
        (ROOT, ROOT / "molgen"),
        *((path.parents[1], path.parent) for path in ROOT.glob("plugins/*/*/plugin.py")),
    ]
    found = []
    for root, package in packages:
        for path in package.rglob("*.py"):
            if ">>>" in path.read_text(encoding="utf-8"):
                found.append(".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__"))
    return sorted(found)


@pytest.mark.parametrize("module", modules())
def test_examples_do_what_they_show(module: str) -> None:
    result = doctest.testmod(importlib.import_module(module))
    assert result.attempted > 0
    assert result.failed == 0
