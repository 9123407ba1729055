"""`molgen relax`: structures of a file to the nearest minima of a potential."""

from __future__ import annotations

from enum import StrEnum
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from molgen.allocation import keep_freed_memory
from molgen.cli.options import (
    STDOUT,
    Device,
    ExitCode,
    Json,
    Overwrite,
    Threads,
    apply_threads,
    choose_device,
    warnings_told,
    write_json,
)

if TYPE_CHECKING:
    from molgen.simulation.relaxed import Relaxations

__all__ = ["Model", "WeightsDtype", "WeightsPrecision", "relax"]


class WeightsPrecision(StrEnum):
    """Floating-point types of a potential's weights."""

    FLOAT64 = "float64"
    FLOAT32 = "float32"


class Optimizer(StrEnum):
    """Optimisers of ASE, and one for many structures at once."""

    BFGS = "bfgs"
    LBFGS = "lbfgs"
    FIRE = "fire"
    BATCHED = "batched"


Model = Annotated[str, typer.Option("--model", "-m", help="A registered potential (`molgen models`), or its file.")]
WeightsDtype = Annotated[
    WeightsPrecision, typer.Option("--dtype", help="Of the weights; geometry and sums are float64 in any case.")
]


def relax(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="Structures: sdf, xyz, extxyz, ASE db, npz, cif, POSCAR, traj, …")
    ],
    model: Model,
    out: Annotated[Path, typer.Option("--out", "-o", help="Relaxed structures: .extxyz, .sdf, or as ASE's suffixes.")],
    fmax: Annotated[float, typer.Option("--fmax", metavar="EV/Å", help="Converged where no force is larger.")] = 0.01,
    steps: Annotated[int, typer.Option("--steps", help="Most steps of each structure.")] = 500,
    cell: Annotated[bool, typer.Option("--cell", help="Also relax the cells.")] = False,
    optimizer: Annotated[
        Optimizer, typer.Option("--optimizer", help="Of ASE; or batched: many molecules at once.")
    ] = Optimizer.BFGS,
    max_force: Annotated[
        float, typer.Option("--max-force", metavar="EV/Å", help="Give up where a force is larger.")
    ] = 1000.0,
    device: Device = "auto",
    dtype: WeightsDtype = WeightsPrecision.FLOAT64,
    threads: Threads = None,
    json: Json = None,
    overwrite: Overwrite = False,
) -> None:
    """Relax structures. Those that don't converge are written too, and marked; then the exit code is 3."""
    keep_freed_memory()
    apply_threads(threads)
    from molgen.errors import ConfigError
    from molgen.simulation.inputs import as_inputs
    from molgen.simulation.progress import relaxation_bar
    from molgen.simulation.relaxation import relax as run
    from molgen.simulation.relaxed import (
        RelaxationInterrupted,
        refuse_existing,
        refuse_unwritable,
        writable_format,
    )

    refuse_existing(out, overwrite=overwrite)
    if cell and writable_format(out) == "sdf":
        raise ConfigError("SDF has no place for the cells that are to be relaxed", remedy="write .extxyz")
    with warnings_told():
        inputs = as_inputs(file)
    refuse_unwritable(out, inputs.atoms)
    try:
        with warnings_told(), relaxation_bar() as told:
            results = run(
                inputs,
                model,
                fmax=fmax,
                steps=steps,
                cell=cell,
                optimizer=optimizer.value,
                force_limit=max_force,
                device=choose_device(device),
                dtype=dtype.value,
                on_step=told,
            )
    except RelaxationInterrupted as stopped:
        _write(stopped.results, out, None, overwrite)
        typer.echo(f"{len(stopped.results)} structures are in {out}", err=True)
        raise
    _write(results, out, json, overwrite)
    if results.n_converged < len(results):
        raise typer.Exit(ExitCode.FEWER)


def _write(results: Relaxations, out: Path, json: Path | None, overwrite: bool) -> None:
    with warnings_told():
        _write_or_keep(results, out, overwrite)
    bad = out.with_name(f"{out.stem}.bad.extxyz")
    left = results.write_bad(bad)
    if json is not None:
        rows = [result.as_row() for result in results]
        write_json(json, {"out": str(out), "converged": results.n_converged, "structures": rows})
    if json != STDOUT:
        typer.echo(results.table())
        typer.echo(out)
    if left:
        typer.echo(f"frames that left reason are in {bad}", err=True)


def _write_or_keep(results: Relaxations, out: Path, overwrite: bool) -> None:
    """Write them; what can't be written goes to extended xyz beside, so that no work is lost."""
    from molgen.errors import InputError, OutputError

    try:
        results.write(out, overwrite=overwrite)
    except (InputError, OutputError) as error:
        names = chain([f"{out.stem}.extxyz"], (f"{out.stem}.{number}.extxyz" for number in count(1)))
        kept = results.write(next(path for path in map(out.with_name, names) if not path.exists()))
        raise OutputError(error.what, where=error.where, remedy=f"the structures are in {kept}") from error
