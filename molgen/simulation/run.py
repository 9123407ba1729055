"""One run of dynamics: a state that moves on step by step, its files, and what watches over it."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from molgen.atomic import write_atomically
from molgen.errors import InputError, MolgenError, OutputError, SimulationError
from molgen.interruption import Interruption
from molgen.simulation.continuation import frames_to_continue, refuse_other_system
from molgen.simulation.energy_log import EnergyLog, drift_of
from molgen.simulation.extended_xyz import extended_xyz
from molgen.simulation.guard import Guard, Limits, Violation, lone_atoms
from molgen.simulation.progress import DynamicsDisplay, ns_per_day
from molgen.simulation.settings import Settings
from molgen.simulation.state import State, look, told_as_ours
from molgen.simulation.trajectory import Trajectory, open_trajectory
from molgen.simulation.velocities import StepNoise, draw_momenta, free_directions

if TYPE_CHECKING:
    from types import TracebackType

    from ase import Atoms

__all__ = ["Run", "Simulation", "SimulationInterrupted"]

_VELOCITY_COLUMNS = ("velocities", "velocity", "velo", "vel")  # of other programs' files


@dataclass(frozen=True, eq=False)
class Simulation:
    """How a run of dynamics ended."""

    atoms: Atoms  # the last state, with momenta, energy and forces
    steps: int  # since the start of the trajectory
    new_steps: int  # of this run alone; 0 where it was continued with nothing left to do
    time: float  # fs since the start of the trajectory
    temperature: float  # K, mean over the log
    drift: float | None  # meV/atom/ps, slope of the total energy in the log; None where it is not conserved
    ns_per_day: float  # of this run's steps, its start left out; 0 where there were none
    notes: tuple[str, ...]  # what is worth a look, such as an atom that left its molecule
    trajectory: Path
    log: Path


class SimulationInterrupted(KeyboardInterrupt):
    """A signal stopped a run; `simulation` is how far it came, and its last state is in the trajectory."""

    def __init__(self, simulation: Simulation) -> None:
        self.simulation = simulation
        super().__init__("interrupted")


class Run:
    """A run that is ready for its next step; as a context it closes its files.

    Args:
        atoms: with their calculator; change as the run goes on.
        settings: of the run.
        limits: what stops it.
        out: the trajectory.
        log: the energies.
        restart: go on from the last frame of `out`, where there is one.

    Raises:
        SimulationError: the start itself is beyond the limits, or `out` belongs to another run.
        InputError: the structure can't be used.
        OutputError: a file can't be written.
    """

    def __init__(
        self, atoms: Atoms, settings: Settings, limits: Limits, out: Path, log: Path, *, restart: bool
    ) -> None:
        self._atoms, self._settings, self._out = atoms, settings, out
        self._constraints = list(atoms.constraints)
        self._notes: list[str] = []
        before = frames_to_continue(out) if restart else None
        try:
            self._begin(limits, log, before)
        except BaseException:
            if before is not None:
                before.close()
            raise

    def _begin(self, limits: Limits, log: Path, before: Trajectory | None) -> None:
        """Look at the start, and open the files only if all is well with it."""
        atoms, settings = self._atoms, self._settings
        step = self._set_out() if before is None else self._go_on_from(before)
        self._state = look(atoms, step, fully=step % settings.interval == 0)
        self._start = self._state if before is None else self._first_of(before)
        # noise turns what it can, and velocities of a file may be any
        turns = settings.velocities == "file" or self._thermostatted
        self._free = free_directions(atoms, drift=turns, rotation=turns)
        hottest = max(settings.temperature, self._temperature(self._start))
        self._guard = Guard(limits, self._start, temperature=hottest, conserved=not self._thermostatted)
        wrong = self._wrong(closely=True)
        if wrong is not None:
            raise SimulationError(wrong.what, where=f"step {step}, before any move", remedy=wrong.remedy)
        self._lone = lone_atoms(atoms)
        self._trajectory: Trajectory = before or open_trajectory(self._out, restart=False, overwrite=True)
        self._log = EnergyLog(log, None if before is None else step, settings.interval)
        self._written = step  # of the last frame in the file
        if before is None:
            self._record()
        elif step % settings.interval:
            # the run was stopped between two frames: the next one takes the place of the odd one
            before.replace_last()

    def _first_of(self, before: Trajectory) -> State:
        frame = before.frame(0)
        frame.set_constraint(self._atoms.constraints)  # not every format has a place for them
        return look(frame, 0, fully=False)

    def __enter__(self) -> Run:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._trajectory.close()
        try:
            self._log.close()
        except OutputError:
            if error is None:  # else it is the error that is being told
                raise

    @property
    def step(self) -> int:
        """Steps that are done since the start of the trajectory."""
        return self._state.step

    def to(self, steps: int, *, progress: bool) -> Simulation:
        """Go on up to this step.

        Raises:
            SimulationError: a state left reason; the last good one is in the trajectory, the bad one beside it.
            SimulationInterrupted: after the last state was written.
            OutputError: a file can't be written.
        """
        first, (dynamics, noise) = self.step, self._integrator()
        display = DynamicsDisplay(first, steps, self._settings.timestep, shown=progress)
        with Interruption() as interruption, display:
            began = time.perf_counter()
            try:
                while self.step < steps and not interruption.signalled:
                    noise.begin(self.step + 1)
                    self._advance(dynamics)
                    display.step(self.step, self._temperature(self._state), self._departure())
            except (SimulationError, OutputError):
                raise
            except BaseException as error:  # a second signal within a step, or no memory: what was reached is kept
                with suppress(OutputError):
                    self._keep_last()
                if not isinstance(error, KeyboardInterrupt):
                    raise
            speed = ns_per_day(self.step - first, self._settings.timestep, time.perf_counter() - began)
            self._keep_last()
        if self.step < steps:
            raise SimulationInterrupted(self._ended(speed, first))
        return self._ended(speed, first)

    @property
    def _thermostatted(self) -> bool:
        return self._settings.ensemble == "langevin"

    def _set_out(self) -> int:
        """Momenta of a new run, whose first step is 0."""
        atoms, settings = self._atoms, self._settings
        _refuse_masses(atoms)
        if settings.velocities == "draw":
            draw_momenta(atoms, settings.temperature, settings.seed)
        elif not atoms.has("momenta"):
            raise _no_velocities(atoms)
        self._hold_center()
        atoms.set_momenta(atoms.get_momenta())  # once more, as constraints will have them from now on
        return 0

    def _go_on_from(self, before: Trajectory) -> int:
        """The step of the last frame, whose positions and momenta are taken over as they are."""
        frame, atoms = before.frame(-1), self._atoms
        step = self._settings.continues(frame.info, str(before.path))
        refuse_other_system(frame, atoms, str(before.path), all_constraints=before.all_constraints)
        self._hold_center()
        atoms.positions[:] = frame.positions
        atoms.set_momenta(frame.get_momenta(), apply_constraint=False)
        return step

    def _hold_center(self) -> None:
        """Keep the centre of mass at rest under noise, unless constraints hold some of the atoms already."""
        from ase.constraints import FixCom

        if self._thermostatted and not self._constraints and len(self._atoms) > 1:
            self._atoms.set_constraint(FixCom())

    def _integrator(self) -> tuple[Any, StepNoise]:
        from ase import units
        from ase.md.langevin import Langevin
        from ase.md.verlet import VelocityVerlet

        settings, noise = self._settings, StepNoise(self._settings.seed, len(self._atoms))
        timestep = settings.timestep * units.fs
        if not self._thermostatted:
            return VelocityVerlet(self._atoms, timestep), noise
        dynamics = Langevin(
            self._atoms,
            timestep,
            temperature_K=settings.temperature,
            friction=settings.friction / units.fs,
            fixcm=False,
            rng=noise,
        )
        return dynamics, noise

    def _advance(self, dynamics: Any) -> None:
        step, before = self.step + 1, self._state
        framed = step % self._settings.interval == 0
        try:
            with told_as_ours():
                dynamics.step()
            self._state = look(self._atoms, step, fully=framed)
        except MolgenError as refused:  # the calculator's word on coordinates that make no sense
            self._stop(Violation(refused.what, refused.remedy or "take a smaller timestep"), before, step)
        wrong = self._wrong(closely=framed)
        if wrong is not None:
            self._stop(wrong, before, step)
        if framed:
            self._record()
            self._watch_lone()

    def _wrong(self, *, closely: bool) -> Violation | None:
        found = self._guard.judge(self._atoms, self._state, self._temperature(self._state))
        return self._guard.judge_distances(self._atoms) if closely and found is None else found

    def _stop(self, wrong: Violation, before: State, step: int) -> NoReturn:
        """Write the last good frame and the bad one, and say what happened."""
        bad = self._out.with_name(f"{self._out.stem}.bad.extxyz")
        evaluated = self._state.step == step
        frame = self._frame() if evaluated else self._atoms.copy()
        self._state = before
        self._keep_last()
        write_atomically(bad, extended_xyz(frame))
        raise SimulationError(
            wrong.what,
            where=f"step {step}, {step * self._settings.timestep:g} fs",
            remedy=f"{wrong.remedy}; the state before is the last frame of {self._out}, the bad one is in {bad}",
        )

    def _record(self) -> None:
        """A frame and a row of the log."""
        state = self._state
        self._trajectory.append(self._frame())
        self._written = state.step
        time_ = state.step * self._settings.timestep
        self._log.write(
            state.step, time_, state.energy + state.restraint, state.kinetic_energy, self._temperature(state)
        )

    def _keep_last(self) -> None:
        """The last good state as the last frame, whatever the atoms have come to since."""
        self._state.put_back(self._atoms)
        if self._written != self.step:
            self._trajectory.append(self._frame())
            self._written = self.step

    def _frame(self) -> Atoms:
        return self._state.frame(self._atoms, self._constraints, self._settings.as_info(self.step))

    def _watch_lone(self) -> None:
        """Note atoms that have left all others; a gas may do so, so it is no error."""
        lone = lone_atoms(self._atoms)
        for atom in sorted(lone - self._lone):
            symbol, time_ = self._atoms.symbols[atom], self.step * self._settings.timestep
            self._notes.append(f"atom {atom} ({symbol}) has left its molecule by step {self.step}, {time_:g} fs")
        self._lone |= lone

    def _temperature(self, state: State) -> float:
        from ase import units

        return 2 * state.kinetic_energy / (units.kB * self._free) if self._free else 0.0

    def _departure(self) -> float | None:
        """EV/atom of the total energy since the start, where it is conserved."""
        return None if self._thermostatted else (self._state.total_energy - self._start.total_energy) / len(self._atoms)

    def _ended(self, speed: float, first: int) -> Simulation:
        rows = self._log.rows
        temperatures = [row[-1] for row in rows]
        return Simulation(
            atoms=self._frame(),
            steps=self.step,
            new_steps=self.step - first,
            time=self.step * self._settings.timestep,
            temperature=sum(temperatures) / len(temperatures) if rows else self._temperature(self._state),
            drift=None if self._thermostatted else drift_of(rows, len(self._atoms)),
            ns_per_day=speed,
            notes=tuple(self._notes),
            trajectory=self._out,
            log=self._log.path,
        )


def _refuse_masses(atoms: Atoms) -> None:
    masses = atoms.get_masses()
    if not (masses > 0).all():
        atom = int(np.flatnonzero(~(masses > 0))[0])
        raise InputError(
            f"the mass of atom {atom} ({atoms.symbols[atom]}) is {masses[atom]:g} amu",
            expected="more than zero: what has no mass has no dynamics",
        )


def _no_velocities(atoms: Atoms) -> InputError:
    ignored = [name for name in atoms.arrays if name.lower() in _VELOCITY_COLUMNS]
    if not ignored:
        return InputError("the structure has no velocities", remedy="draw them, or read them from a trajectory")
    return InputError(
        f"the structure has no momenta, and its column {ignored[0]!r} is in units that nothing tells",
        expected="a column momenta in ASE's units, as a trajectory has it",
        remedy="set them by atoms.set_velocities and write the structure with ASE, or draw them",
    )
