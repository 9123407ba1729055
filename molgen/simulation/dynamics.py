"""Molecular dynamics through ASE: runs that can be stopped at any time and continued to the same end."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from molgen.errors import ConfigError, InputError, OutputError
from molgen.simulation.calculator import Calculator
from molgen.simulation.guard import Limits
from molgen.simulation.inputs import as_calculator, as_inputs
from molgen.simulation.run import Run, Simulation, SimulationInterrupted
from molgen.simulation.settings import Settings, require_integer
from molgen.simulation.trajectory import trajectory_kind

if TYPE_CHECKING:
    from ase import Atoms

__all__ = ["Simulation", "SimulationInterrupted", "run_md"]


def run_md(
    structure: Any,
    model: Any,
    out: str | Path,
    *,
    steps: int,
    ensemble: str = "langevin",
    temperature: float = 300.0,
    timestep: float = 0.5,
    friction: float = 0.01,
    interval: int = 20,
    seed: int = 0,
    velocities: str = "draw",
    index: int | None = None,
    restart: bool = False,
    overwrite: bool = False,
    log: str | Path | None = None,
    limits: Limits | None = None,
    device: str = "cpu",
    dtype: str | None = None,
    progress: bool = False,
) -> Simulation:
    """Run molecular dynamics and write a trajectory and a log of its energies.

    Args:
        structure: `ase.Atoms`, `Structures`, or the path of a file.
        model: a registered name, the path of a file, a potential, or any ASE calculator.
        out: the trajectory: .traj, .extxyz or .xyz.
        steps: of the whole run, those of a run that is continued among them.
        ensemble: "nve" (velocity Verlet) or "langevin" (ASE's `Langevin`, the centre of mass at rest).
        temperature: K, of the thermostat and of the velocities that are drawn.
        timestep: fs.
        friction: 1/fs, of Langevin dynamics.
        interval: steps between two frames, and between two rows of the log.
        seed: of velocities and noise.
        velocities: "draw" them (Maxwell–Boltzmann, without drift, and without rotation where nothing is periodic), or
            take those of the "file".
        index: which structure of several.
        restart: go on from the last frame of `out`, up to `steps`; start anew where there is none. The noise of a step
            depends on seed and step alone, so the frames are those of a run that was never stopped.
        overwrite: replace files that are there.
        log: CSV of time, energies and temperature; `out` with the suffix .csv if left out.
        limits: what stops the run.
        device: for the model, as torch names it.
        dtype: "float32" or "float64", which it is if left out.
        progress: show speed, temperature and drift on stderr.

    Raises:
        SimulationError: energies, forces or temperature left reason, after the last good frame was written to `out` and
            the bad one beside it (NAME.bad.extxyz); or `out` belongs to another run.
        SimulationInterrupted: SIGINT or SIGTERM, after the last state was written.
        ConfigError: a setting that makes no sense.
        InputError: a structure or a file that can't be used.
        OutputError: `out` or `log` is there already, can't be written, or is where the structure comes from.

    >>> import tempfile
    >>> from ase.build import molecule
    >>> from ase.calculators.emt import EMT
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     run_md(molecule("CO"), EMT(), f"{folder}/co.traj", steps=10, ensemble="nve").time
    5.0
    """
    require_integer("steps", steps, 0)
    settings = Settings(ensemble, temperature, timestep, friction, interval, seed, velocities)
    out, limits = Path(out), limits or Limits()
    log = out.with_suffix(".csv") if log is None else Path(log)
    _refuse_input(structure, out, log)
    _refuse_existing(out, log, restart=restart, overwrite=overwrite)
    atoms = _one_of(structure, index)
    atoms.calc = as_calculator(model, device=device, dtype=dtype)
    settings = replace(settings, model=_name_of(atoms.calc), dtype=_dtype_of(atoms.calc))
    with Run(atoms, settings, limits, out, log, restart=restart) as run:
        return run.to(steps, progress=progress)


def _one_of(structure: Any, index: int | None) -> Atoms:
    found = as_inputs(structure)
    n = len(found.atoms)
    if index is None and n > 1:
        raise InputError(
            f"there are {n} structures", where=found.source, expected="one", remedy="choose one of them by its index"
        )
    if not -n <= (index or 0) < n:
        raise InputError(f"there is no structure {index}", where=found.source, expected=f"0 to {n - 1}")
    return found.atoms[index or 0]


def _refuse_input(structure: Any, out: Path, log: Path) -> None:
    """Refuse to write where the structure is read from, whatever may be replaced."""
    if not isinstance(structure, str | Path):
        return
    for path in (out, log):
        if path.resolve() == Path(structure).resolve():
            raise OutputError(f"{path} is the file that the structure is read from", remedy="choose another name")


def _refuse_existing(out: Path, log: Path, *, restart: bool, overwrite: bool) -> None:
    trajectory_kind(out)
    if log.resolve() == out.resolve():
        raise ConfigError("the log and the trajectory are one file", where=str(log), remedy="name another log")
    for path in (out, log):
        if path.exists() and not (restart or overwrite):
            raise OutputError(
                f"{path} exists", remedy="go on with it (--restart), replace it (--overwrite), or choose another name"
            )
        if not path.parent.is_dir():
            raise OutputError(f"there is no folder {path.parent}", remedy="create the folder first")


def _name_of(calculator: Any) -> str:
    """What tells one model from another in the frames of a trajectory."""
    hashes = getattr(calculator, "parameters", {}).get("tensors_sha256")
    if hashes:
        return "sha256:" + "+".join(each[:12] for each in hashes)
    return str(getattr(calculator, "name", "") or type(calculator).__name__)


def _dtype_of(calculator: Any) -> str:
    return str(calculator.parameters["dtype"]) if isinstance(calculator, Calculator) else ""
