"""ASE's atoms relaxed in batches, with the results of those that are relaxed one by one."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import torch

from molgen.errors import ConfigError, StructureError
from molgen.interruption import Interruption
from molgen.simulation.admission import renamed
from molgen.simulation.batched import plan
from molgen.simulation.batched_relaxation import RelaxedBatch, relax_batch
from molgen.simulation.calculator import Calculator
from molgen.simulation.inputs import Inputs, as_calculator
from molgen.simulation.relaxed import Relaxation, RelaxationInterrupted, Relaxations
from molgen.structures import Structures, concatenate

if TYPE_CHECKING:
    from ase import Atoms

__all__ = ["OnStep", "relax_inputs"]

OnStep = Callable[[int, int, float], None]

# of a batch: what a signal waits for; a GPU is faster the more there are
_MOST_ATOMS: Final = {"cpu": 1024, "cuda": 16384}


def relax_inputs(
    inputs: Inputs, model: Any, *, device: str, dtype: str | None, on_step: OnStep | None, **options: Any
) -> Relaxations:
    """Relax all structures, those of like size together.

    Args:
        inputs: structures without constraints.
        model: a registered name, the path of a file, a potential, or the calculator of one.
        device: for the model.
        dtype: of its weights; float64 if left out.
        on_step: told of each batch: its last structure, the steps and the largest force of that.
        **options: of `relax_batch`.

    Raises:
        ConfigError: a calculator that is no potential's, constraints.
        RelaxationInterrupted: SIGINT or SIGTERM, after the batch that was being relaxed.
    """
    calculator = as_calculator(model, device=device, dtype=dtype)
    if not isinstance(calculator, Calculator):
        raise ConfigError(
            "batches are relaxed by potentials, and a calculator was given", remedy="choose another optimizer"
        )
    potential = calculator.model
    for number, atoms in enumerate(inputs.atoms):
        if atoms.constraints:
            raise ConfigError(
                "constraints can't be kept in batches",
                where=f"{inputs.source}, structure {number}",
                remedy="choose another optimizer, or remove them",
            )
    admitted, found = _admitted(inputs, calculator)
    fit = list(admitted)
    most = _MOST_ATOMS.get(potential.device.type, _MOST_ATOMS["cpu"])
    with Interruption() as interruption:
        for places in plan([len(inputs.atoms[index]) for index in fit], None, most):
            batch = [fit[place] for place in places]
            relaxed = relax_batch(concatenate([admitted[index] for index in batch]), potential, **options)
            found |= {index: _result(inputs.atoms[index], relaxed, place) for place, index in enumerate(batch)}
            if on_step is not None:
                on_step(batch[-1], found[batch[-1]].steps, found[batch[-1]].max_force)
            if interruption.signalled and len(found) < len(inputs.atoms):
                raise RelaxationInterrupted(_in_order(found, inputs))
    return _in_order(found, inputs)


def _admitted(inputs: Inputs, calculator: Calculator) -> tuple[dict[int, Structures], dict[int, Relaxation]]:
    """What the calculator takes, with its own charges and spins, and what became of those that it refuses."""
    admitted: dict[int, Structures] = {}
    refused: dict[int, Relaxation] = {}
    for number, atoms in enumerate(inputs.atoms):
        try:
            admitted[number] = calculator._admission.many([atoms], [0], torch.device("cpu"))
        except StructureError as error:
            refused[number] = _refused(atoms, error, number)
    return admitted, refused


def _refused(given: Atoms, error: StructureError, number: int) -> Relaxation:
    nothing = float("nan")
    atoms: Atoms = given.copy()
    atoms.arrays.pop("momenta", None)
    return Relaxation(
        atoms=atoms,
        steps=0,
        energy_before=nothing,
        energy_after=nothing,
        max_force=nothing,
        rmsd=nothing,
        converged=False,
        reason=str(renamed(error, None)),
        refusal=renamed(error, number),
    )


def _in_order(found: dict[int, Relaxation], inputs: Inputs) -> Relaxations:
    places = sorted(found)
    bonded = None if inputs.bonded is None else inputs.bonded.select(places)
    return Relaxations([found[place] for place in places], bonded)


def _result(given: Atoms, relaxed: RelaxedBatch, place: int) -> Relaxation:
    """What became of one of the structures, as the atoms that were given."""
    from ase.calculators.singlepoint import SinglePointCalculator

    atoms: Atoms = given.copy()
    atoms.arrays.pop("momenta", None)
    before, after = float(relaxed.energy_before[place]), float(relaxed.energy_after[place])
    reason, refused = relaxed.reasons[place], math.isnan(before)
    if not refused:
        one = relaxed.structures.select([place])
        atoms.positions[:] = one.positions.numpy()
        atoms.calc = SinglePointCalculator(atoms, energy=after, forces=one.atom_labels["forces"].numpy())
    return Relaxation(
        atoms=atoms,
        steps=int(relaxed.steps[place]),
        energy_before=before,
        energy_after=after,
        max_force=float(relaxed.max_force[place]),
        rmsd=float(relaxed.rmsd[place]),
        converged=bool(relaxed.converged[place]),
        reason=reason,
        refusal=StructureError(reason or "") if refused else None,
    )
