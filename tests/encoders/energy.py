"""The minimal potential of the benchmarks, scripts/benchmarks/harness/energy.py, as the tests import it."""

from __future__ import annotations

import importlib.util
from pathlib import Path

_SOURCE = Path(__file__).parents[2] / "scripts" / "benchmarks" / "harness" / "energy.py"

_spec = importlib.util.spec_from_file_location("minimal_energy", _SOURCE)
assert _spec is not None
assert _spec.loader is not None
_module = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_module)

EnergyModel = _module.EnergyModel
build_energy_model = _module.build_energy_model
