"""Relaxation of many small structures at once: one L-BFGS each, all of them in one pass of the model per step."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from numbers import Real
from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor

from molgen.conversion import to_ase
from molgen.errors import ConfigError, StructureError
from molgen.models.committee import Committee
from molgen.models.potential import Potential
from molgen.simulation.admission import refuse_coincident, renamed
from molgen.simulation.batched import plan
from molgen.simulation.evaluation import OutOfMemoryError, evaluate
from molgen.simulation.guard import FORCE_LIMIT, collapsed
from molgen.simulation.lbfgs import Descent
from molgen.simulation.relaxed import displacement
from molgen.simulation.serving import Given, dtype_named, serve
from molgen.simulation.settings import require_integer
from molgen.structures import Structures

if TYPE_CHECKING:
    from ase import Atoms

__all__ = ["RelaxedBatch", "check_numbers", "relax_batch"]

_MOST_ATOMS: Final = 2048  # of a batch


@dataclass(frozen=True, eq=False)
class RelaxedBatch:
    """What became of B structures, in their order."""

    structures: Structures  # float64; the last good positions, with labels energy and forces, NaN where refused
    steps: Tensor  # [B] int64
    energy_before: Tensor  # [B] eV; NaN where the model refused the structure
    energy_after: Tensor  # [B] eV
    max_force: Tensor  # [B] eV/Å, at the end
    rmsd: Tensor  # [B] Å, after superposition where nothing is periodic
    converged: Tensor  # [B] bool
    reasons: tuple[str | None, ...]  # [B] why a structure is not converged

    def __len__(self) -> int:
        return len(self.structures)

    @property
    def strain(self) -> Tensor:
        """[B] eV, by which the energy fell."""
        return self.energy_before - self.energy_after


def relax_batch(
    structures: Structures,
    model: Given,
    *,
    fmax: float = 0.01,
    steps: int = 500,
    force_limit: float = FORCE_LIMIT,
    batch_size: int | None = None,
    max_atoms: int = _MOST_ATOMS,
    device: torch.device | str | None = None,
    dtype: str | None = None,
    on_step: Callable[[float], None] | None = None,
) -> RelaxedBatch:
    """Move the atoms of many structures to their nearest minima; cells stay as they are.

    Each structure has a step length and a history of its own, so what it comes to does not depend, but for rounding, on
    what it is relaxed beside; finished ones leave the batch. Geometry is float64 whatever the weights are.

    Args:
        structures: of any sizes; positions in any dtype, on any device.
        model: a registered name, the path of a file, or a potential.
        fmax: eV/Å; converged where no force is larger.
        steps: at most, for each structure.
        force_limit: eV/Å, beyond which a relaxation is given up.
        batch_size: most structures in a batch.
        max_atoms: most atoms in a batch.
        device: where to compute; where the potential is, else "cpu", if left out.
        dtype: of the weights, "float32" or "float64"; as they are if left out.
        on_step: told how many structures are done since the last call.

    Returns:
        The structures and what became of each. One that the model refuses, that does not converge or that leaves reason
        has its reason there; it is no error of the others. Nor is one that does not fit into memory on its own.

    Raises:
        ConfigError: options that make no sense.
    """
    check_numbers(fmax=fmax, steps=steps, force_limit=force_limit)
    served = serve(model, device or getattr(model, "device", None) or "cpu", dtype_named(dtype)).module
    given = structures.to(torch.float64).to(served.device)
    results = _Results(given, _refusals(served, given))
    fit = [index for index, reason in enumerate(results.reasons) if reason is None]
    if on_step is not None and len(fit) < len(given):
        on_step(len(given) - len(fit))
    sizes = given.n_atoms.tolist()
    waiting = [sorted(fit[place] for place in batch) for batch in plan([sizes[i] for i in fit], batch_size, max_atoms)]
    while waiting:
        batch = waiting.pop(0)
        try:
            _relax_together(served, given.select(batch), batch, results, fmax, steps, force_limit)
        except OutOfMemoryError as error:
            if len(batch) > 1:
                half = len(batch) // 2
                waiting = [batch[:half], batch[half:], *waiting]
                continue
            results.reasons[batch[0]] = str(error)
        if on_step is not None:
            on_step(len(batch))
    return results.gathered(structures.positions.device)


def check_numbers(*, fmax: float, steps: int, force_limit: float) -> None:
    """Raise ConfigError for options of a relaxation that make no sense."""
    for name, value in (("fmax", fmax), ("force_limit", force_limit)):
        if isinstance(value, bool) or not isinstance(value, Real) or not (math.isfinite(value) and value > 0):
            raise ConfigError(f"{name} is {value!r}", expected="a positive number of eV/Å")
    require_integer("steps", steps, 1)


class _Results:
    """What is known of each structure so far; rows of atoms in the order of the structures."""

    def __init__(self, given: Structures, reasons: list[str | None]) -> None:
        b, nothing = len(given), float("nan")
        self.given, self.reasons = given, reasons
        self.positions = given.positions.clone()
        self.forces = torch.full_like(given.positions, nothing)
        self.before, self.after, self.largest = given.positions.new_full((3, b), nothing).unbind()
        self.steps = torch.zeros(b, dtype=torch.int64)
        self.converged = torch.zeros(b, dtype=torch.bool)

    def settle(self, descent: Descent, ends: Tensor, indices: list[int], step: int) -> None:
        """Note where structures of a descent have come to.

        Args:
            descent: of structures in ascending order.
            ends: [structures of the descent] bool, which of them.
            indices: of those, here.
            step: the present one.
        """
        rows = torch.zeros(len(self.given), dtype=torch.bool, device=ends.device)
        rows[indices] = True
        self.positions[rows[self.given.batch]] = descent.positions[ends[descent.batch]]
        self.forces[rows[self.given.batch]] = descent.forces[ends[descent.batch]]
        self.after[indices] = descent.energies[ends]
        self.largest[indices] = descent.largest_forces()[ends]
        self.steps[indices] = step

    def gathered(self, home: torch.device) -> RelaxedBatch:
        """The whole, on the device that the structures came from."""
        given = self.given
        final = given.replace(
            positions=self.positions,
            structure_labels={**given.structure_labels, "energy": self.after},
            atom_labels={**given.atom_labels, "forces": self.forces},
        ).to(home)
        starts, ends = _bare(given), _bare(final)
        for index, atoms in enumerate(ends):
            if self.converged[index] and (reason := collapsed(atoms)) is not None:
                self.converged[index] = False
                self.reasons[index] = reason
        rmsd = [displacement(start, end) if len(start) else 0.0 for start, end in zip(starts, ends, strict=True)]
        return RelaxedBatch(
            structures=final,
            steps=self.steps.to(home),
            energy_before=self.before.to(home),
            energy_after=self.after.to(home),
            max_force=self.largest.to(home),
            rmsd=torch.tensor(rmsd, dtype=torch.float64, device=home),
            converged=self.converged.to(home),
            reasons=tuple(self.reasons),
        )


def _relax_together(
    model: Potential | Committee,
    structures: Structures,
    indices: list[int],
    results: _Results,
    fmax: float,
    most: int,
    limit: float,
) -> None:
    """Relax some structures in one batch, and note what became of each."""
    energies, forces = _evaluated(model, structures)
    results.before[indices] = energies
    descent = Descent(structures.positions, energies, forces, structures.batch, conservative=model.conservative)
    refused = _unreasonable(descent, energies, forces, limit)
    for step in range(most + 1):
        largest = descent.largest_forces()
        converged = (largest <= fmax) & ~refused
        # who starts beyond reason is not moved; who gets there later is taken back, and ends where no step is left
        over = converged | descent.stuck | (refused if step == 0 else step == most)
        if over.any():
            places = over.nonzero()[:, 0].tolist()
            ended = [indices[place] for place in places]
            results.settle(descent, over, ended, step)
            for place, index in zip(places, ended, strict=True):
                results.converged[index] = bool(converged[place])
                if not converged[place]:
                    results.reasons[index] = _reason(step, most, bool(refused[place]), float(largest[place]), limit)
            indices = [index for place, index in enumerate(indices) if not over[place]]
            structures = structures.select(~over)
            descent.keep(~over)
        if not indices:
            return
        trial = descent.propose()
        structures = structures.replace(positions=trial)
        energies, forces = _evaluated(model, structures)
        refused = _unreasonable(descent, energies, forces, limit)
        descent.accept(trial, energies, forces, refused)


def _evaluated(model: Potential | Committee, structures: Structures) -> tuple[Tensor, Tensor]:
    """[B] eV and [N, 3] eV/Å; zero energies where a model gives forces alone."""
    found = evaluate(model, structures, model.graph(structures), forces=True, stress=False)
    forces = found["forces"].to(torch.float64)
    return found.get("energy", forces.new_zeros(len(structures))), forces


def _unreasonable(descent: Descent, energies: Tensor, forces: Tensor, limit: float) -> Tensor:
    """[B] whether an energy or a force is not finite, or a force beyond the limit."""
    return ~torch.isfinite(energies) | ~(descent.longest(forces) <= limit)


def _reason(step: int, most: int, refused: bool, largest: float, limit: float) -> str:
    if refused and step == 0:
        return f"a force of {largest:.4g} eV/Å at the start, above the limit of {limit:g}"
    if refused:
        return "energy or forces leave reason with every step, however short"
    if step == most:
        return f"not converged after {most} steps"
    return "the energy rises with every step, however short"


def _refusals(model: Potential | Committee, structures: Structures) -> list[str | None]:
    """Why the model can't take a structure, or None."""
    if len(structures) and not (structures.n_atoms == 0).any():
        with suppress(StructureError):
            _admit(model, structures)
            return [None] * len(structures)
    found: list[str | None] = []
    for one in structures.split():
        try:
            if not len(one.species):
                raise StructureError("it has no atoms")
            _admit(model, one)
        except StructureError as error:
            found.append(str(renamed(error, None)))
        else:
            found.append(None)
    return found


def _admit(model: Potential | Committee, structures: Structures) -> None:
    model.check(structures)
    refuse_coincident(model.graph(structures), structures)


def _bare(structures: Structures) -> list[Atoms]:
    return to_ase(structures.replace(atom_labels={}, structure_labels={}))
