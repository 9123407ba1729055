"""molgen: a plugin system for equivariant 3D molecular modelling.

The names below are imported when they are first used: `import molgen` itself loads neither torch nor rdkit nor ase.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from molgen.chemistry.metrics import score as score
    from molgen.conversion import from_ase as from_ase
    from molgen.conversion import from_rdkit as from_rdkit
    from molgen.conversion import to_ase as to_ase
    from molgen.conversion import to_rdkit as to_rdkit
    from molgen.evaluation import evaluate as evaluate
    from molgen.generation import load as load
    from molgen.host.registry import build as build
    from molgen.host.registry import plugins as plugins
    from molgen.simulation import Calculator as Calculator
    from molgen.simulation import relax as relax
    from molgen.simulation import run_md as run_md
    from molgen.structures import Structures as Structures
    from molgen.training import train as train

__version__: Final = "0.1.0"

_HOMES: Final = {
    "Calculator": "molgen.simulation",
    "Structures": "molgen.structures",
    "build": "molgen.host.registry",
    "evaluate": "molgen.evaluation",
    "from_ase": "molgen.conversion",
    "from_rdkit": "molgen.conversion",
    "load": "molgen.generation",
    "plugins": "molgen.host.registry",
    "relax": "molgen.simulation",
    "run_md": "molgen.simulation",
    "score": "molgen.chemistry.metrics",
    "to_ase": "molgen.conversion",
    "to_rdkit": "molgen.conversion",
    "train": "molgen.training",
}

__all__ = [
    "Calculator",
    "Structures",
    "__version__",
    "build",
    "evaluate",
    "from_ase",
    "from_rdkit",
    "load",
    "plugins",
    "relax",
    "run_md",
    "score",
    "to_ase",
    "to_rdkit",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'molgen' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
