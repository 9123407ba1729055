"""A calculator leaves the process as it found it, and computes the same in whatever state that is."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch
from simulation.potentials import close, ethanol, potential, silicon, written

from molgen.simulation import Calculator


def test_nothing_global_is_touched(tmp_path) -> None:
    path = written(tmp_path / "small.safetensors")
    atoms = silicon()

    def state() -> list:
        return [
            dict(os.environ),
            torch.get_default_dtype(),
            torch.get_num_threads(),
            torch.random.get_rng_state().tolist(),
            random.getstate(),
            np.random.get_state()[1].tolist(),
            torch.is_grad_enabled(),
            warnings.filters[:],
        ]

    before = state()
    atoms.calc = Calculator(path)
    atoms.get_forces()
    atoms.calc.batched([atoms, ethanol()])
    assert state() == before


_FRESH = """
import os, sys
before = dict(os.environ)
import molgen
from ase.build import molecule
molgen.Calculator(sys.argv[1]).get_forces(molecule("H2O"))
import torch
assert dict(os.environ) == before, set(os.environ) ^ set(before)
assert torch.get_default_dtype() == torch.float32
"""


def test_a_fresh_process_keeps_its_environment(tmp_path) -> None:
    path = written(tmp_path / "small.safetensors")
    subprocess.run([sys.executable, "-c", _FRESH, str(path)], check=True)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_the_default_dtype_of_the_caller_changes_nothing(dtype: torch.dtype, tmp_path) -> None:
    path = written(tmp_path / "small.safetensors")
    atoms = silicon()
    expected = Calculator(path).get_forces(atoms)
    torch.set_default_dtype(dtype)
    try:
        assert close(Calculator(path).get_forces(atoms), expected)
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_forces_are_there_in_any_mode_of_the_caller(mode: type) -> None:
    atoms = silicon()
    expected = Calculator(potential()).get_forces(atoms)
    calculator = Calculator(potential())
    with mode():
        assert close(calculator.get_forces(atoms), expected)
        assert np.allclose(calculator.batched([atoms])[0]["forces"], expected, rtol=0, atol=1e-12)
    atoms.positions[0, 0] += 0.01
    assert not np.allclose(calculator.get_forces(atoms), expected)  # what was kept of the other mode serves here
