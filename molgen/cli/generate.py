"""`molgen generate`: molecules of a trained model, into a folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from molgen.allocation import keep_freed_memory
from molgen.cli.options import (
    STDOUT,
    Device,
    Dtype,
    ExitCode,
    Json,
    Overwrite,
    Precision,
    Seed,
    Threads,
    apply_threads,
    choose_device,
    write_json,
)

if TYPE_CHECKING:
    from molgen.generation import GeneratedMolecules

__all__ = ["generate"]


def generate(
    model: Annotated[str, typer.Argument(help="A registered model (`molgen models`), or the path of a file.")] = "qm9",
    n: Annotated[int, typer.Option("-n", "--number", help="How many molecules.")] = ...,  # type: ignore[assignment]
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the results.")] = ...,  # type: ignore[assignment]
    atoms: Annotated[
        str | None, typer.Option("--atoms", metavar="18|12-20", help="Atoms per molecule; else as in the data.")
    ] = None,
    composition: Annotated[
        str | None, typer.Option("--composition", metavar="C6H12O2", help="Exactly these atoms in every molecule.")
    ] = None,
    scaffold: Annotated[
        str | None,
        typer.Option("--scaffold", metavar="FILE", help="A file with the part that every molecule has."),
    ] = None,
    guide: Annotated[
        str | None,
        typer.Option("--guide", metavar="POTENTIAL", help="Guide by the energy of a potential (organics, or a path)."),
    ] = None,
    guidance: Annotated[
        float | None, typer.Option("--guidance", metavar="W", help="How strong the guide is, 1/eV; 1 if left out.")
    ] = None,
    sampler: Annotated[str | None, typer.Option("--sampler", help="Sampler; else the model's own.")] = None,
    steps: Annotated[int | None, typer.Option("--steps", help="Steps of the sampler; else its own number.")] = None,
    batch_size: Annotated[int | None, typer.Option("--batch-size", help="Most molecules drawn together.")] = None,
    trajectory: Annotated[bool, typer.Option("--trajectory", help="Also write the way from noise.")] = False,
    relax: Annotated[
        str | None,
        typer.Option(
            "--relax", metavar="POTENTIAL", help="Also relax them with a potential (organics, or a path): strain."
        ),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the interrupted run in the folder.")] = False,
    report: Annotated[bool, typer.Option("--report/--no-report", help="Write report.html.")] = True,
    seed: Seed = 0,
    device: Device = "auto",
    dtype: Dtype = Precision.AUTO,
    threads: Threads = None,
    json: Json = None,
    overwrite: Overwrite = False,
    target: Annotated[list[str] | None, typer.Option(hidden=True)] = None,
) -> None:
    """Generate molecules: SDF, extended xyz, a table, scores and a page to look at."""
    keep_freed_memory()
    apply_threads(threads)
    from molgen.generation import GenerationInterrupted, load

    generator = load(model, device=choose_device(device), dtype=dtype.value)
    try:
        molecules = generator.generate(
            n,
            seed=seed,
            n_atoms=atoms,
            composition=composition,
            scaffold=scaffold,
            targets=target or None,
            sampler=sampler,
            n_steps=steps,
            batch_size=batch_size,
            out=out,
            overwrite=overwrite,
            trajectory=trajectory,
            report=report,
            relax=relax,
            guide=guide,
            guidance=guidance,
            resume=resume,
        )
    except GenerationInterrupted as stopped:
        typer.echo(_left(stopped.molecules, n, out), err=True)
        raise
    if json is not None:
        write_json(json, _summary(molecules, out, report))
    if json != STDOUT:
        _tell(molecules, out, report)
    if molecules.n_results < n:
        raise typer.Exit(ExitCode.FEWER)


def _left(molecules: GeneratedMolecules | None, n: int, out: Path) -> str:
    """What an interrupt left."""
    if molecules is None:
        return f"0 of {n} molecules are finished"
    told = f"{len(molecules)} of {n} molecules are finished and in {out}"
    if len(molecules) < n:
        told += "; the same with --resume goes on"
    relaxation = molecules.relaxation
    return told if relaxation is None else f"{told}; {relaxation.n_converged} of them are relaxed"


def _tell(molecules: GeneratedMolecules, out: Path, report: bool) -> None:
    typer.echo(molecules.metrics.table())
    missing = molecules.n_asked - molecules.n_results
    if missing:
        typer.echo(f"{missing} of {molecules.n_asked} molecules failed; molecules.csv says why", err=True)
    relaxation = molecules.relaxation
    if relaxation is not None and relaxation.n_converged < molecules.n_results:
        left = molecules.n_results - relaxation.n_converged
        typer.echo(f"{left} of {molecules.n_results} molecules were not relaxed; molecules.csv says why", err=True)
    typer.echo(out / "report.html" if report else out)


def _summary(molecules: GeneratedMolecules, out: Path, report: bool) -> dict[str, Any]:
    reference, relaxation = molecules.reference, molecules.relaxation
    return {
        "out": str(out),
        "report": str(out / "report.html") if report else None,
        "asked": molecules.n_asked,
        "results": molecules.n_results,
        "smiles": molecules.smiles,
        "metrics": molecules.metrics.as_dict(),
        "reference_metrics": None if reference is None else reference.as_dict(),
        "timing": molecules.record["timing"],
        "strain_eV": None if relaxation is None else [row["strain_eV"] for row in relaxation.rows],
    }
