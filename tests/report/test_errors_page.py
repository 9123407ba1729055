"""The page of a potential's errors stands alone, and shows few points as points and many as shades."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from simulation.potentials import potential

from molgen.conversion import from_ase
from molgen.evaluation import Evaluation, evaluate
from molgen.report.errors_page import write_errors_report
from molgen.report.scatter import MOST_POINTS, Pairs, scatter


@pytest.fixture(scope="module")
def evaluation() -> Evaluation:
    from ase.build import molecule

    structures = from_ase([molecule(name) for name in ("H2O", "CH3OH", "CH4")]).to(torch.float64)
    labels = {"energy": torch.tensor([-30.0, -1100.0, -1070.0], dtype=torch.float64)}
    forces = torch.zeros(len(structures.species), 3, dtype=torch.float64)
    labelled = structures.replace(structure_labels=labels, atom_labels={"forces": forces})
    return evaluate(potential(), labelled)


def test_the_page_asks_for_nothing_outside_itself(evaluation: Evaluation, tmp_path: Path) -> None:
    write_errors_report(tmp_path / "report.html", evaluation)
    page = (tmp_path / "report.html").read_text()
    assert not re.findall(r"(?:src|href)=[\"'](?!data:)", page)
    assert "<script" not in page
    assert "default-src 'none'" in page
    for words in ("forces on H", "forces on O", "energy beyond the elements", "meV/Å", "CH4O", "Largest errors"):
        assert words in page


def test_names_from_outside_are_escaped(evaluation: Evaluation, tmp_path: Path) -> None:
    from dataclasses import replace

    strange = replace(evaluation, source="<script>alert(1)</script>", model="<b>", notes=("<i>",))
    write_errors_report(tmp_path / "report.html", strange)
    page = (tmp_path / "report.html").read_text()
    assert "<script" not in page
    assert "<b>.safe" not in page
    assert "&lt;i&gt;" in page


def test_few_pairs_are_points() -> None:
    values = np.linspace(-1, 1, 50)
    drawn = scatter(Pairs("forces", "eV/Å", values, values))
    assert drawn.count("<circle") == 50
    places = re.findall(r'cx="([\d.]+)" cy="([\d.]+)"', drawn)
    assert float(places[0][0]) < float(places[-1][0])
    assert float(places[0][1]) > float(places[-1][1])


def test_many_pairs_are_shades_in_a_drawing_of_bounded_size() -> None:
    rng = np.random.default_rng(0)
    for n in (2 * MOST_POINTS, 200_000):
        values = rng.normal(size=n)
        drawn = scatter(Pairs("forces", "eV/Å", values, values + 0.1 * rng.normal(size=n)))
        assert "<circle" not in drawn
        assert 2 <= drawn.count('class="density"') <= 6
        assert len(drawn) < 200_000


@pytest.mark.parametrize("value", [0.0, -1030.2])
def test_equal_numbers_are_drawn(value: float) -> None:
    values = np.full(3, value)
    assert "nan" not in scatter(Pairs("energy", "eV", values, values))
