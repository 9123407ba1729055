"""`molgen md`: molecular dynamics with a potential."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from molgen.allocation import keep_freed_memory
from molgen.cli.options import (
    STDOUT,
    Device,
    Json,
    Overwrite,
    Seed,
    Threads,
    apply_threads,
    choose_device,
    warnings_told,
    write_json,
)
from molgen.cli.relax import Model, WeightsDtype, WeightsPrecision

if TYPE_CHECKING:
    from molgen.simulation.run import Simulation

__all__ = ["md"]


class Ensemble(StrEnum):
    """What is held constant."""

    NVE = "nve"
    LANGEVIN = "langevin"


class Velocities(StrEnum):
    """Where start velocities come from."""

    DRAW = "draw"
    FILE = "file"


def md(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="The structure: sdf, xyz, extxyz, ASE db, cif, POSCAR, traj, …")
    ],
    model: Model,
    out: Annotated[Path, typer.Option("--out", "-o", help="The trajectory: .traj, .extxyz or .xyz.")],
    ensemble: Annotated[
        Ensemble, typer.Option("--ensemble", help="nve: constant energy; langevin: constant temperature.")
    ] = Ensemble.LANGEVIN,
    temperature: Annotated[
        float, typer.Option("--temperature", "-T", metavar="K", help="Of the thermostat, and of drawn velocities.")
    ] = 300.0,
    timestep: Annotated[float, typer.Option("--timestep", metavar="FS", help="0.5 fs suits hydrogens.")] = 0.5,
    steps: Annotated[int | None, typer.Option("--steps", help="Of the whole run, before a restart too.")] = None,
    length: Annotated[
        str | None, typer.Option("--length", metavar="TIME", help="Instead of --steps: 500fs, 10ps, 1ns.")
    ] = None,
    friction: Annotated[float, typer.Option("--friction", metavar="1/FS", help="Of the thermostat.")] = 0.01,
    interval: Annotated[int, typer.Option("--interval", help="Steps between frames, and rows of the log.")] = 20,
    velocities: Annotated[
        Velocities, typer.Option("--velocities", help="Draw them anew, or take those of the file.")
    ] = Velocities.DRAW,
    index: Annotated[int | None, typer.Option("--index", help="Which structure of the file; -1 for the last.")] = None,
    log: Annotated[Path | None, typer.Option("--log", help="Energies as CSV; else beside the trajectory.")] = None,
    restart: Annotated[
        bool, typer.Option("--restart", help="Go on from the last frame of --out; start anew where there is none.")
    ] = False,
    max_force: Annotated[
        float, typer.Option("--max-force", metavar="EV/Å", help="Stop where a force is larger.")
    ] = 100.0,
    max_temperature: Annotated[
        float | None,
        typer.Option("--max-temperature", metavar="K", help="Stop above; else ten times --temperature and 3000 K."),
    ] = None,
    seed: Seed = 0,
    device: Device = "auto",
    dtype: WeightsDtype = WeightsPrecision.FLOAT64,
    threads: Threads = None,
    json: Json = None,
    overwrite: Overwrite = False,
) -> None:
    """Run molecular dynamics. Stopped by a signal, it writes its last state, and --restart goes on from there."""
    keep_freed_memory()
    apply_threads(threads)
    from molgen.simulation.dynamics import run_md
    from molgen.simulation.guard import Limits
    from molgen.simulation.run import SimulationInterrupted

    try:
        with warnings_told():
            simulation = run_md(
                file,
                model,
                out,
                steps=_steps(steps, length, timestep),
                ensemble=ensemble.value,
                temperature=temperature,
                timestep=timestep,
                friction=friction,
                interval=interval,
                seed=seed,
                velocities=velocities.value,
                index=index,
                restart=restart,
                overwrite=overwrite,
                log=log,
                limits=Limits(force=max_force, temperature=max_temperature),
                device=choose_device(device),
                dtype=dtype.value,
                progress=True,
            )
    except SimulationInterrupted as stopped:
        _tell_notes(stopped.simulation)
        typer.echo(f"stopped after {stopped.simulation.steps} steps; --restart goes on from there", err=True)
        raise
    _tell_notes(simulation)
    if json is not None:
        write_json(json, _summary(simulation))
    if json != STDOUT:
        if restart and not simulation.new_steps:
            typer.echo(f"nothing is left to do: {simulation.steps} steps are done already, in {simulation.trajectory}")
        else:
            _tell(simulation)


def _steps(steps: int | None, length: str | None, timestep: float) -> int:
    from molgen.errors import ConfigError
    from molgen.simulation.settings import parse_time

    if (steps is None) == (length is None):
        raise ConfigError("how long the run is", expected="one of --steps and --length")
    if steps is not None:
        return steps
    if not timestep > 0:
        raise ConfigError(f"the timestep is {timestep}", expected="a positive number of fs")
    return round(parse_time(str(length)) / timestep)


def _tell(simulation: Simulation) -> None:
    parts = [f"{simulation.steps} steps", f"{simulation.time / 1000:g} ps", f"{simulation.temperature:.0f} K"]
    if simulation.drift is not None:
        parts.append(f"drift {simulation.drift:+.3g} meV/atom/ps")
    if simulation.ns_per_day:
        parts.append(f"{simulation.ns_per_day:.3g} ns/day")
    typer.echo(" · ".join(parts))
    typer.echo(simulation.log)
    typer.echo(simulation.trajectory)


def _tell_notes(simulation: Simulation) -> None:
    for note in simulation.notes:
        typer.echo(f"molgen: note: {note}", err=True)


def _summary(simulation: Simulation) -> dict[str, Any]:
    return {
        "out": str(simulation.trajectory),
        "log": str(simulation.log),
        "steps": simulation.steps,
        "new_steps": simulation.new_steps,
        "time_fs": simulation.time,
        "temperature_K": simulation.temperature,
        "drift_meV_per_atom_ps": simulation.drift,
        "ns_per_day": simulation.ns_per_day,
        "notes": list(simulation.notes),
    }
