"""Drawings: formulas where there is a SMILES, projections where there is none."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest
import torch

from molgen.report.depiction import HEIGHT, WIDTH, drawing
from molgen.structures import Structures

from .conftest import embedded


def circles(svg: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in re.findall(r'<circle[^>]*cx="([-\d.]+)" cy="([-\d.]+)"', svg)]


def test_a_formula_follows_the_colours_of_the_page():
    svg = drawing(embedded("CCO"), "CCO")
    assert "currentColor" in svg
    assert "#000000" not in svg
    assert not circles(svg)
    ElementTree.fromstring(svg)


@pytest.mark.parametrize("smiles", [None, "", "no smiles at all", "C(C)(C)(C)(C)C"])
def test_without_a_smiles_that_rdkit_accepts_every_atom_is_a_circle(smiles):
    ethanol = embedded("CCO")
    svg = drawing(ethanol, smiles)
    assert len(circles(svg)) == 9
    assert svg.count("<path") == 8
    ElementTree.fromstring(svg)


def test_a_projection_stays_inside_its_frame_and_shows_the_longest_side_along_it():
    positions = torch.tensor([[0.0, 0, 0], [0, 0, 40], [0, 10, 20]])
    found = circles(drawing(Structures.build(positions, [6, 6, 6]), None))
    assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in found)
    spread = [max(values) - min(values) for values in zip(*found, strict=True)]
    assert spread[0] > 2 * spread[1] > 0


@pytest.mark.parametrize("n", [0, 1, 2])
def test_the_smallest_structures_can_be_drawn(n):
    svg = drawing(Structures.build(torch.eye(3)[:n], [1] * n), None)
    assert len(circles(svg)) == n
    assert "nan" not in svg
