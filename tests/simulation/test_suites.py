"""What others ask of models and calculators: torch-sim's contract, on potentials over every element."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from simulation.potentials import ENCODERS, potential, silicon

from molgen.elements import SYMBOLS
from molgen.models.potential import Potential
from molgen.simulation import Calculator

torch_sim = pytest.importorskip(
    "torch_sim", reason="torch-sim is not installed: pip install 'molgen[suites]', on Python 3.12 or newer"
)
testing = pytest.importorskip("torch_sim.testing", reason="this torch-sim is older than its module of tests")

CPU = torch.device("cpu")
ELEMENTS = SYMBOLS[1:95]


def of_all_elements(use: str) -> Potential:
    return potential(use, symbols=ELEMENTS)


@pytest.mark.parametrize("use", sorted(ENCODERS))
def test_a_potential_fulfils_the_contract_of_models(use: str) -> None:
    from simulation.torch_sim_adapter import TorchSimModel
    from torch_sim.models.interface import validate_model_outputs

    validate_model_outputs(TorchSimModel(of_all_elements(use)), CPU, torch.float64)


@pytest.mark.parametrize("name", testing.CONSISTENCY_SIMSTATES)
@pytest.mark.parametrize("use", sorted(ENCODERS))
def test_the_calculator_is_consistent_with_the_model(use: str, name: str) -> None:
    from simulation.torch_sim_adapter import TorchSimModel

    if name == "osn2_sim_state":
        pytest.importorskip("pymatgen", reason="torch-sim makes this structure with pymatgen")
    model = of_all_elements(use)
    state = testing.SIMSTATE_GENERATORS[name](CPU, torch.float64)
    testing.assert_model_calculator_consistency(TorchSimModel(model), Calculator(model), state)


def test_its_batched_optimiser_ends_where_ase_s_does() -> None:
    from ase.optimize import FIRE
    from simulation.torch_sim_adapter import TorchSimModel

    model = of_all_elements("egnn")
    crystals = [silicon(rattle=0.05, seed=seed) for seed in range(2)]
    state = torch_sim.io.atoms_to_state(crystals, CPU, torch.float64)
    final = torch_sim.optimize(state, TorchSimModel(model), optimizer=torch_sim.Optimizer.fire, max_steps=300)
    for atoms, energy in zip(crystals, final.energy.tolist(), strict=True):
        atoms.calc = Calculator(model)
        FIRE(atoms, logfile=None).run(fmax=1e-3, steps=300)
        assert np.isclose(atoms.get_potential_energy(), energy, atol=1e-2)
