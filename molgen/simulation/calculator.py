"""`molgen.Calculator`: potentials as ASE knows calculators."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from copy import copy
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import Calculator as ASECalculator
from ase.calculators.calculator import PropertyNotImplementedError, all_changes, all_properties
from ase.outputs import Properties

from molgen.errors import CheckpointError, ConfigError, StructureError, nearest
from molgen.models.committee import Committee
from molgen.models.potential import Potential
from molgen.simulation.admission import CLOSEST, Admission, refuse_coincident, renamed
from molgen.simulation.batched import evaluate_batches
from molgen.simulation.conditions import NotCertifiedWarning, departures
from molgen.simulation.evaluation import DEVIATIONS, evaluate, implemented, out_of_memory, results_of, why_absent
from molgen.simulation.neighbor_reuse import NeighborReuse
from molgen.simulation.serving import Given, Served, dtype_named, serve

__all__ = ["DEFAULT_SKIN", "Calculator"]

# Å; in water at 300 K a search serves some 14 steps of 0.5 fs, and a wider list costs as much more as it saves
DEFAULT_SKIN = 0.75

# atoms in a batch: on a CPU larger ones leave its caches, elsewhere smaller ones leave it idle
_MOST_ATOMS_ON_CPU, _MOST_ATOMS_ELSEWHERE = 1024, 8192

# Å; ASE's own tolerance, the rounding of a coordinate of a few Å
_EXACT = 1e-15

# what `set` may change; the model is another calculator's
_CHANGEABLE = ("skin", "charge", "spin", "one_pass")


class Calculator(ASECalculator):
    """Energies, forces, stress and whatever else a trained potential gives, as an ASE calculator.

    Energy, forces and, where all three directions are periodic, stress come from one pass of the model, whichever is
    asked for first. `implemented_properties` names what this model gives: of energy, free_energy (equal to it: there is
    no electronic temperature), energies (which sum to it), forces, stress (eV/Å³, ASE's order and sign), dipole (e·Å)
    and charges (e). The total charge is `atoms.info["charge"]` and the multiplicity `atoms.info["spin"]`; results are
    computed anew when either changes. Torch's threads, default dtype and random state stay as they are.

    Args:
        model: the name of a registered model, the path of a model file, a potential in memory, or a list of these for a
            committee, which gives means and :meth:`uncertainty`.
        device: "cpu", "cuda", …
        dtype: "float64", "float32", or None for that which the model was trained in. Geometry and sums are float64 in
            any case.
        skin: Å beyond the cutoff, for neighbour lists that serve several steps of a simulation; changes no result.
        charge: e, where `atoms.info` has none; None for the sum of the initial charges.
        spin: multiplicity, where `atoms.info` has none.
        one_pass: False to compute only what is asked for: cheaper where energies are all that is wanted (Monte Carlo,
            scans), dearer elsewhere.

    Raises:
        PluginError: no model of this name.
        CheckpointError: a file that is damaged, or no potential.
        ConfigError: options that can't work, members of a committee that don't fit each other.

    Warns:
        NotCertifiedWarning: the model's certificate was measured in another dtype, on another device, or with another
            method of tensor products.

    Calculations raise `StructureError` for what the model can't take (no atoms, an element that it doesn't know, NaN,
    atoms on top of each other), for results that are not finite, and for structures too large for the memory.

    Example::

        from ase.build import molecule

        atoms = molecule("CH3CH2OH")
        atoms.calc = molgen.Calculator("organics")
        atoms.get_potential_energy(), atoms.get_forces()
    """

    name = "molgen"
    default_parameters: dict[str, Any] = {  # noqa: RUF012 - as ASE declares it
        "device": "cpu",
        "dtype": "float64",
        "skin": DEFAULT_SKIN,
        "charge": None,
        "spin": 1,
        "one_pass": True,
    }

    def __init__(
        self,
        model: Given | Sequence[Given],
        *,
        device: torch.device | str = "cpu",
        dtype: str | torch.dtype | None = "float64",
        skin: float = DEFAULT_SKIN,
        charge: float | None = None,
        spin: int = 1,
        one_pass: bool = True,
    ) -> None:
        self._served: Served = serve(model, device, dtype_named(dtype))
        self._conditions: tuple[float, int] | None = None  # charge and multiplicity of the last calculation
        super().__init__()
        self.implemented_properties = implemented(self.model)
        self.parameters |= {
            "model": self._served.name,
            "tensors_sha256": self._served.tensors_sha256,
            "device": str(device),
            "dtype": str(self.model.dtype).removeprefix("torch."),
        }
        self.set(skin=skin, charge=charge, spin=spin, one_pass=one_pass)
        self._warn_of_departures()

    def __repr__(self) -> str:
        name = self.parameters["model"] or "potential in memory"
        return f"Calculator({name!r}, device={self.parameters['device']!r}, dtype={self.parameters['dtype']!r})"

    @property
    def model(self) -> Potential | Committee:
        """What computes; its weights are frozen."""
        return self._served.module

    @property
    def neighbor_searches(self) -> int:
        """How often neighbours were searched for, since the options were set; other steps reused the list."""
        return self._reuse.searches

    def set(self, **options: Any) -> dict[str, Any]:
        """Change skin, charge, spin or one_pass; results are forgotten. Returns what changed.

        Raises:
            ConfigError: another option, or a value that can't be.
        """
        for name in options:
            if name not in _CHANGEABLE:
                remedy = nearest(name, _CHANGEABLE)
                if name in self.parameters:
                    remedy = f"make another calculator for another {name}"
                raise ConfigError(f"{name} can't be set", expected=", ".join(_CHANGEABLE), remedy=remedy)
        before = {name: self.parameters[name] for name in options}
        changed = super().set(**options)
        try:
            self._rebuild()
        except ConfigError:
            self.parameters |= before
            raise
        self.reset()
        return changed

    def _rebuild(self) -> None:
        """What depends on the parameters, afresh."""
        options = self.parameters
        self._reuse = NeighborReuse(self.model.graph, self.model.cutoff, options["skin"])
        self._admission = Admission(self.model, charge=options["charge"], spin=options["spin"])

    def todict(self, skip_default: bool = False) -> dict[str, Any]:
        """Plain data that `fromdict` makes the same calculator of; `model` is None for a potential without a file."""
        return super().todict(skip_default)

    @classmethod
    def fromdict(cls, data: Mapping[str, Any]) -> Calculator:
        """The calculator that `todict` told of.

        Raises:
            ConfigError: it was one of a potential in memory.
            CheckpointError: the model of that name has other tensors today.
        """
        options = {name: value for name, value in data.items() if name != "tensors_sha256"}
        if options.get("model") is None:
            raise ConfigError(
                "the calculator was made of a potential in memory", where="model", expected="a name or a path"
            )
        made = cls(**options)
        if list(data.get("tensors_sha256", made._served.tensors_sha256)) != made._served.tensors_sha256:
            raise CheckpointError(
                "the model has other tensors than the one that was told of",
                where=str(options["model"]),
                remedy="get the model file of that time",
            )
        return made

    def check_state(self, atoms: Atoms, tol: float = 1e-15) -> list[str]:
        """The first thing that differs from the atoms of the last calculation; nothing where all is equal.

        Charge and multiplicity count too, which ASE would not look at.
        """
        before = self.atoms
        if before is None or self._conditions is None:
            return list(all_changes)
        for name in all_changes:  # positions first
            if not _same(_part(before, name), _part(atoms, name), tol):
                return [name]
        # those of the last calculation were kept: arrays in its info may have changed in place since
        now = zip(("charge", "spin"), self._conditions, self._admission.charge_and_spin(atoms), strict=True)
        return [name for name, one, other in now if one != other]

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = tuple(all_changes),
    ) -> None:
        """Fill `results`; what ASE calls when results are asked for.

        Raises:
            PropertyNotImplementedError: a property that the model doesn't give, stress unless all directions are
                periodic, or the dipole of a periodic structure.
            StructureError: see :class:`Calculator`.
        """
        if system_changes:
            self.results = {}
        if atoms is not None:
            self.atoms = atoms.copy()
        if self.atoms is None:
            raise StructureError("there are no atoms yet", remedy="give them to the call: get_forces(atoms)")
        self._conditions = self._admission.charge_and_spin(self.atoms)
        self._refuse_unknown(properties)
        _refuse_absent(self.atoms, properties)
        together = bool(self.parameters["one_pass"])
        self.results |= self._evaluated(
            self.atoms,
            forces=together or not {"forces", "forces_deviation"}.isdisjoint(properties),
            stress="stress" in properties or (together and bool(self.atoms.pbc.all())),
        )

    def batched(
        self,
        atoms: Sequence[Atoms],
        properties: Sequence[str] = ("energy", "forces"),
        *,
        batch_size: int | None = None,
        max_atoms: int | None = None,
    ) -> list[dict[str, Any]]:
        """The properties of many structures, several of like size in one pass.

        What each dictionary holds is what the calculator gives for those atoms alone, up to rounding. The results of
        the calculator, and calculators that the atoms have, stay as they are.

        Args:
            atoms: of any sizes, elements, cells and periodicities that the model takes.
            properties: of `implemented_properties`; of committees energy_deviation and forces_deviation too.
            batch_size: most structures in a pass.
            max_atoms: most atoms in a pass; 1024 on a CPU and 8192 elsewhere if left out. A batch that doesn't fit in
                memory is halved all the same.

        Returns:
            One dictionary per structure, in their order, with the properties by name.

        Raises:
            PropertyNotImplementedError: as `calculate`; StructureError: likewise, with the index of the structure.
        """
        frames = [atoms] if isinstance(atoms, Atoms) else list(atoms)
        self._refuse_unknown(properties)
        for index, frame in enumerate(frames):
            _refuse_absent(frame, properties, f"structure {index}")
        if max_atoms is None:
            max_atoms = _MOST_ATOMS_ON_CPU if self.model.device.type == "cpu" else _MOST_ATOMS_ELSEWHERE
        with torch.inference_mode(False):
            found = evaluate_batches(
                self.model,
                self._admission,
                frames,
                forces=not {"forces", "forces_deviation"}.isdisjoint(properties),
                stress="stress" in properties,
                batch_size=batch_size,
                max_atoms=max_atoms,
            )
        return [{name: own[name] for name in properties} for own in found]

    def uncertainty(self, atoms: Atoms | None = None) -> dict[str, Any]:
        """How far the members of a committee disagree: standard deviations, those of a sample.

        Args:
            atoms: those of the last calculation if left out.

        Returns:
            `energy`, eV, and `forces` [N, 3], eV/Å.

        Raises:
            ConfigError: a single model.
        """
        if not isinstance(self.model, Committee):
            raise ConfigError(
                "a single model can't tell how uncertain it is", remedy="give Calculator a list of several models"
            )
        for name in ("forces", "energy"):  # with the forces comes the energy
            if name in self.implemented_properties:
                self.get_property(name, atoms)
        found = {name: copy(self.results[name]) for name in DEVIATIONS if name in self.results}
        return {name.removesuffix("_deviation"): value for name, value in found.items()}

    def export_properties(self) -> Properties:
        """Results under the names that ASE knows."""
        return Properties({name: value for name, value in self.results.items() if name in all_properties})

    def __getstate__(self) -> dict[str, Any]:
        # the neighbour list is found again
        return {name: value for name, value in vars(self).items() if name not in ("_reuse", "_admission")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._rebuild()

    def _evaluated(self, atoms: Atoms, *, forces: bool, stress: bool) -> dict[str, Any]:
        if torch.is_inference_mode_enabled():
            with torch.inference_mode(False):  # derivatives can be taken whatever mode the caller is in
                return self._evaluated(atoms, forces=forces, stress=stress)
        conditions = self._conditions or self._admission.charge_and_spin(atoms)
        with out_of_memory(len(atoms), self.model.device):
            structures = self._admission.one(atoms, conditions, self.model.device)
            try:
                positions = np.asarray(atoms.positions, dtype=np.float64)
                graph, shortest = self._reuse.edges(structures, positions, atoms.cell.array, atoms.pbc)
            except StructureError as error:
                raise renamed(error, None) from None
            if shortest < CLOSEST:
                refuse_coincident(graph.with_positions(structures), structures)
            return results_of(evaluate(self.model, structures, graph, forces=forces, stress=stress), structures)[0]

    def _refuse_unknown(self, properties: Sequence[str]) -> None:
        given = set(self.implemented_properties)
        if isinstance(self.model, Committee):
            given |= set(DEVIATIONS)
        for name in properties:
            if name not in given:
                raise PropertyNotImplementedError(
                    f"the model gives no {name}; it gives {', '.join(self.implemented_properties)}"
                )

    def _warn_of_departures(self) -> None:
        found = [
            departure
            for potential, loaded in self._served.members
            if loaded is not None
            for departure in departures(potential, loaded.document)
        ]
        if found:
            warnings.warn(
                f"the model's certificate does not hold here: {'; '.join(dict.fromkeys(found))}; "
                "compute as certified, or measure it here with `molgen certify`",
                NotCertifiedWarning,
                stacklevel=3,
            )


def _part(atoms: Atoms, name: str) -> np.ndarray | None:
    """What ASE calls a change of this name would be one of."""
    return atoms.cell.array if name == "cell" else atoms.pbc if name == "pbc" else atoms.arrays.get(name)


def _same(before: np.ndarray | None, now: np.ndarray | None, tolerance: float) -> bool:
    if before is None or now is None or before.shape != now.shape:
        return before is now
    if tolerance <= _EXACT or before.dtype == bool:
        return bool((before == now).all())
    return bool((np.abs(before - now) <= tolerance).all())  # never where one is NaN


def _refuse_absent(atoms: Atoms, properties: Sequence[str], where: str | None = None) -> None:
    for name in properties:
        reason = why_absent(name, atoms.pbc)
        if reason is not None:
            raise PropertyNotImplementedError(reason if where is None else f"{where}: {reason}")
