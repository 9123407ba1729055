"""Simulations: potentials as ASE calculators, relaxation, dynamics."""

from molgen.simulation.batched_relaxation import RelaxedBatch, relax_batch
from molgen.simulation.calculator import Calculator
from molgen.simulation.conditions import NotCertifiedWarning
from molgen.simulation.dynamics import run_md
from molgen.simulation.guard import Limits
from molgen.simulation.relaxation import relax
from molgen.simulation.relaxed import Relaxation, RelaxationInterrupted, Relaxations
from molgen.simulation.run import Simulation, SimulationInterrupted

__all__ = [
    "Calculator",
    "Limits",
    "NotCertifiedWarning",
    "Relaxation",
    "RelaxationInterrupted",
    "Relaxations",
    "RelaxedBatch",
    "Simulation",
    "SimulationInterrupted",
    "relax",
    "relax_batch",
    "run_md",
]
