"""One pass of a model, and what it returns in the types, shapes and units of ASE."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from molgen.elements import SYMBOLS
from molgen.errors import StructureError
from molgen.neighbors import Graph
from molgen.structures import Structures

__all__ = [
    "DEVIATIONS",
    "Model",
    "OutOfMemoryError",
    "evaluate",
    "implemented",
    "out_of_memory",
    "results_of",
    "why_absent",
]

# as ASE lists them
_ORDER = ("energy", "forces", "stress", "dipole", "charges", "free_energy", "energies")

# of a committee, beside ASE's own names
DEVIATIONS = ("energy_deviation", "forces_deviation")

_PER_ATOM = frozenset({"forces", "charges", "energies", "forces_deviation"})
_VOIGT = ((0, 1, 2, 1, 0, 0), (0, 1, 2, 2, 2, 1))  # xx, yy, zz, yz, xz, xy

# what torch's allocators say on a CPU
_SAID_OF_MEMORY = ("can't allocate memory", "not enough memory")


class Model(Protocol):
    """A `Potential` or a `Committee`."""

    @property
    def elements(self) -> tuple[int, ...]:
        """Atomic numbers that it knows."""

    @property
    def provides(self) -> frozenset[str]:
        """What it can return."""

    @property
    def conditions(self) -> frozenset[str]:
        """What it tells apart."""

    @property
    def conservative(self) -> bool:
        """Whether forces are derivatives of the energy."""

    @property
    def periodic(self) -> bool:
        """Whether it sees periodic images."""

    @property
    def cutoff(self) -> float | None:
        """Å."""

    @property
    def dtype(self) -> torch.dtype:
        """Of its weights."""

    @property
    def device(self) -> torch.device:
        """Where it computes."""

    def graph(self, structures: Structures, skin: float = 0.0) -> Graph:
        """The edges that it wants."""

    def __call__(
        self, structures: Structures, graph: Graph | None = None, *, forces: bool = True, stress: bool = False
    ) -> dict[str, Tensor]:
        """Properties by name."""


class OutOfMemoryError(StructureError):
    """The structure, or the batch, is too large for the memory of the device."""


def implemented(model: Model) -> list[str]:
    """What ASE may ask of a model, in the order of ASE's own list."""
    given = model.provides | ({"free_energy"} if "energy" in model.provides else set())
    return [name for name in _ORDER if name in given]


def evaluate(model: Model, structures: Structures, graph: Graph, *, forces: bool, stress: bool) -> dict[str, Tensor]:
    """What the model returns; without forces and stress no derivative is taken."""
    with torch.no_grad():
        return model(structures, graph, forces=forces, stress=stress)


@contextmanager
def out_of_memory(n_atoms: int, device: torch.device) -> Iterator[None]:
    """Tells what torch and numpy say of memory in the words of structures.

    Raises:
        OutOfMemoryError: names the number of atoms.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not _is_of_memory(error):
            raise
        raise OutOfMemoryError(
            f"{n_atoms} atoms need more memory than {device} has left",
            remedy="take a smaller structure or batch, dtype float32, a smaller model, or a device with more memory",
        ) from error


def _is_of_memory(error: Exception) -> bool:
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return any(words in str(error).lower() for words in _SAID_OF_MEMORY)


def results_of(
    found: Mapping[str, Tensor], structures: Structures, numbers: Sequence[int] | None = None
) -> list[dict[str, Any]]:
    """What ASE calls results, one dictionary for each structure.

    energy and free_energy are floats; forces [N, 3], energies [N], charges [N], dipole [3] and stress [6] in Voigt's
    order are arrays of float64. What a structure doesn't have (`why_absent`) is left out.

    Args:
        found: from `evaluate`.
        structures: what was evaluated.
        numbers: what errors call the structures; None where there is one alone.

    Raises:
        StructureError: the model returned a number that is not finite.
    """
    names = [name for name in (*_ORDER, *DEVIATIONS) if name in found]
    arrays = {name: found[name].cpu().numpy().astype(np.float64, copy=False) for name in names}
    periodic = structures.pbc.cpu().numpy()
    if "dipole" in arrays:
        arrays["dipole"][periodic.any(1)] = 0.0  # there is none, whatever its head says
    for name, values in arrays.items():
        # a sum shows NaN and infinity, in a third of the time
        if not math.isfinite(np.add.reduce(values, axis=None)) and not np.isfinite(values).all():
            _refuse_not_finite(name, values, structures, numbers)
    end, results = 0, []
    for index, n in enumerate(structures.n_atoms.tolist()):
        start, end = end, end + n
        own: dict[str, Any] = {}
        for name, values in arrays.items():
            if name in _PER_ATOM:
                own[name] = values[start:end].copy()
            elif why_absent(name, periodic[index]) is None:
                if name == "stress":
                    own[name] = values[index][_VOIGT]
                else:
                    own[name] = values[index].copy() if values.ndim > 1 else float(values[index])
        if "energy" in own:
            own["free_energy"] = own["energy"]
        results.append(own)
    return results


def why_absent(name: str, pbc: np.ndarray) -> str | None:
    """Why a structure of these periodic directions [3] has no such property, and what to do; None where it has.

    >>> why_absent("stress", np.array([True, True, False]))
    'there is no stress unless all directions are periodic; pbc is T T F; set cell and pbc, or leave out the stress'
    """
    if name == "stress" and not pbc.all():
        what, remedy = "there is no stress unless all directions are periodic", "set cell and pbc"
    elif name == "dipole" and pbc.any():
        what, remedy = "a periodic structure has no dipole", "set pbc to False"
    else:
        return None
    shown = " ".join("FT"[int(each)] for each in pbc)
    return f"{what}; pbc is {shown}; {remedy}, or leave out the {name}"


def _refuse_not_finite(name: str, values: np.ndarray, structures: Structures, numbers: Sequence[int] | None) -> None:
    row = int(np.flatnonzero(~np.isfinite(values.reshape(len(values), -1)).all(1))[0])
    index, whose = row, ""
    if name in _PER_ATOM:
        index = int(structures.batch[row])
        whose = f" on atom {row - int(structures.offsets[index])} ({SYMBOLS[int(structures.species[row])]})"
    raise StructureError(
        f"the model returned {name.replace('_', ' ')}{whose} of {np.array2string(values[row], threshold=9)}",
        where=None if numbers is None else f"structure {numbers[index]}",
        expected="finite numbers",
        remedy="the structure is far from all that the model was trained on: check its positions, or relax it first",
    )
