"""Simulations: potentials as ASE calculators, relaxation, dynamics."""

from molgen.simulation.calculator import Calculator
from molgen.simulation.conditions import NotCertifiedWarning

__all__ = ["Calculator", "NotCertifiedWarning"]
