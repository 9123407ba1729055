"""Relaxation of generated molecules by a potential: chosen before anything is drawn, done when all is written."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

import torch

from molgen.elements import SYMBOLS
from molgen.errors import RequestError
from molgen.generation.generated import GeneratedMolecules
from molgen.generation.progress import progress_bar
from molgen.generation.relaxed import RelaxedMolecules
from molgen.generation.run import GenerationInterrupted
from molgen.generation.run_folder import RunFolder
from molgen.generation.writing import write_relaxation
from molgen.structures import Structures

if TYPE_CHECKING:
    from molgen.simulation.batched_relaxation import RelaxedBatch
    from molgen.simulation.serving import Given

__all__ = ["Relaxer"]

_FMAX: Final = 0.02  # eV/Å; the strain is some 2 meV short of that at 0.01, for three quarters of the steps
_STEPS: Final = 500  # at most, for each molecule
# of a batch; an interrupt loses the one that it meets
_MOST_ATOMS: Final = {"cpu": 1024, "cuda": 16384}


class Relaxer:
    """A potential that is ready to relax molecules.

    Args:
        model: the name of a registered potential, the path of a file, a potential, or several for their mean.
        device: where it computes.

    Raises:
        CheckpointError, PluginError, ConfigError: no such potential, or none that can be used.
        RequestError: it tells no energies.
    """

    def __init__(self, model: Given | Sequence[Given], device: torch.device) -> None:
        # simulations need ASE, which generating alone does not
        from molgen.simulation.serving import serve

        served = serve(model, device, None)
        self._module = served.module
        if "energy" not in self._module.provides:
            raise RequestError(
                "a potential that gives forces alone tells no strain",
                where="relax",
                remedy="choose one with the head energy",
            )
        files = [loaded for _, loaded in served.members if loaded is not None]
        self.record: dict[str, Any] = {
            "models": [
                {"name": each.document.name, "id": each.id, "tensors_sha256": each.document.tensors_sha256}
                for each in files
            ],
            "dtype": str(self._module.dtype).removeprefix("torch."),
            "fmax": _FMAX,
            "steps": _STEPS,
        }
        """What relaxes, as `run.json` holds it; `models` is empty for a potential that has no file."""

    def into(self, folder: RunFolder | None, molecules: GeneratedMolecules, *, report: bool, progress: bool) -> None:
        """Relax the molecules, and write what became of them beside them.

        Args:
            folder: of the run, which has the molecules already; or None.
            molecules: those to relax; their `relaxation` is set.
            report: write the report anew.
            progress: show a bar.

        Raises:
            GenerationInterrupted: after what was relaxed has been written.
        """
        interrupted = self._relax(molecules, progress)
        if folder is not None:
            try:
                write_relaxation(molecules, folder, report=report)
            except BaseException:
                folder.discard()  # what is there was written before, whole
                raise
        if interrupted is not None:
            raise GenerationInterrupted(molecules) from interrupted

    def _relax(self, molecules: GeneratedMolecules, progress: bool) -> KeyboardInterrupt | None:
        """Relax all that are results, stable or not."""
        outcome, interrupted = _Outcome(molecules, self._module.elements), None
        started = time.perf_counter()
        with progress_bar("relaxed", len(outcome.places), enabled=progress) as advance:
            try:
                self._relax_batches(outcome, advance)
            except KeyboardInterrupt as interrupt:
                interrupted = interrupt
        molecules.relaxation = outcome.relaxed(molecules)
        facts = {
            "seconds": round(time.perf_counter() - started, 3),
            "molecules": len(outcome.places),
            "converged": molecules.relaxation.n_converged,
        }
        molecules.record = molecules.record | {"relaxation": self.record | facts}
        return interrupted

    def _relax_batches(self, outcome: _Outcome, advance: Callable[[float], None]) -> None:
        from molgen.simulation.batched import plan
        from molgen.simulation.batched_relaxation import relax_batch

        sizes = outcome.structures.n_atoms[outcome.places].tolist()
        for batch in plan(sizes, None, _MOST_ATOMS.get(self._module.device.type, _MOST_ATOMS["cpu"])):
            places = sorted(outcome.places[number] for number in batch)
            structures = outcome.structures.select(places)
            found = relax_batch(structures, self._module, fmax=_FMAX, steps=_STEPS, on_step=advance)
            outcome.settle(places, found)


class _Outcome:
    """What is known so far: what has not been relaxed stands as it was drawn, its numbers NaN."""

    def __init__(self, molecules: GeneratedMolecules, elements: Sequence[int]) -> None:
        given = molecules.structures.to(torch.float64)
        nothing = given.bonds[:0]
        # bonds are to be perceived anew; those that a model draws would hide that one broke
        self.structures = given.replace(
            bonds=nothing, bond_orders=nothing[:, 0], bonds_known=torch.zeros_like(given.bonds_known)
        )
        self.positions = given.positions.clone()
        self.energy, self.strain, self.rmsd = given.positions.new_full((3, len(given)), float("nan")).unbind()
        unknown = _unknown_elements(given, elements)
        known_reasons = [failure or unknown.get(place) for place, failure in enumerate(molecules.failures)]
        self.places = [place for place, reason in enumerate(known_reasons) if reason is None]  # to be relaxed
        self.reasons: list[str | None] = [reason or "interrupted before it was relaxed" for reason in known_reasons]

    def settle(self, places: list[int], found: RelaxedBatch) -> None:
        """Note what became of the molecules at some places, in ascending order."""
        rows = torch.zeros(len(self.structures), dtype=torch.bool)
        rows[places] = True
        self.positions[rows[self.structures.batch]] = found.structures.positions
        self.energy[rows] = found.energy_after
        self.strain[rows] = torch.where(found.converged, found.strain, torch.nan)
        self.rmsd[rows] = torch.where(found.converged, found.rmsd, torch.nan)
        for place, reason in zip(places, found.reasons, strict=True):
            self.reasons[place] = reason

    def relaxed(self, molecules: GeneratedMolecules) -> RelaxedMolecules:
        return RelaxedMolecules(
            self.structures.replace(positions=self.positions, structure_labels={"energy": self.energy}),
            strain=self.strain,
            rmsd=self.rmsd,
            reasons=self.reasons,
            drawn=molecules.perceived,
        )


def _unknown_elements(structures: Structures, elements: Sequence[int]) -> dict[int, str]:
    """Which structures have elements that a potential doesn't know, in words that are the same for all of a kind."""
    unknown = ~torch.isin(structures.species, torch.tensor(elements))
    found: dict[int, set[int]] = {}
    for place, number in zip(structures.batch[unknown].tolist(), structures.species[unknown].tolist(), strict=True):
        found.setdefault(place, set()).add(number)
    return {
        place: f"the potential doesn't know {' and '.join(SYMBOLS[number] for number in sorted(numbers))}"
        for place, numbers in found.items()
    }
