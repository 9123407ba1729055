"""Options of relaxation and dynamics of the wrong kind are refused in words, not by what Python makes of them."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from ase.build import bulk, molecule
from ase.calculators.emt import EMT

from molgen.errors import ConfigError, DroppedDataWarning, InputError
from molgen.simulation.dynamics import run_md
from molgen.simulation.relaxation import relax


@pytest.mark.parametrize(
    "changed",
    [
        {"steps": 4.5},
        {"steps": "4"},
        {"steps": True},
        {"interval": 1.5},
        {"seed": -1},
        {"seed": 0.5},
        {"temperature": "a"},
        {"timestep": None},
    ],
)
def test_a_run_is_refused_numbers_of_the_wrong_kind(tmp_path, changed):
    (name,) = changed
    with pytest.raises(ConfigError, match=rf"{name} is .*; expected"):
        run_md(molecule("CO"), EMT(), tmp_path / "run.traj", **{"steps": 2} | changed)
    assert not list(tmp_path.iterdir())


def test_integers_of_numpy_are_integers(tmp_path):
    run_md(molecule("CO"), EMT(), tmp_path / "run.traj", steps=np.int64(2), interval=np.int32(1), seed=np.uint8(3))


@pytest.mark.parametrize("given", [None, 3, [3], [molecule("CO"), None]])
def test_what_is_no_structure_is_told(given):
    with pytest.raises(InputError, match=r"is no structure; expected ase.Atoms"):
        relax(given, EMT())


@pytest.mark.parametrize("changed", [{"fmax": "a"}, {"fmax": None}, {"force_limit": "a"}, {"steps": 2.5}])
def test_a_relaxation_is_refused_numbers_of_the_wrong_kind(changed):
    (name,) = changed
    with pytest.raises(ConfigError, match=rf"{name} is .*; expected"):
        relax(molecule("CO"), EMT(), **changed)


def test_cells_that_sdf_has_no_place_for_are_told(tmp_path):
    with pytest.warns(DroppedDataWarning, match="the cells of 1 periodic structures are left out"):
        relax(bulk("Cu", cubic=True), EMT()).write(tmp_path / "cell.sdf")
    with warnings.catch_warnings():
        warnings.simplefilter("error", DroppedDataWarning)
        relax(molecule("CO"), EMT(), fmax=1.0).write(tmp_path / "molecule.sdf")
