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

_Later = Annotated[str | None, typer.Option(hidden=True)]


def generate(
    model: Annotated[str, typer.Argument(help="A registered model (`molgen models`), or the path of a file.")] = "qm9",
    n: Annotated[int, typer.Option("-n", "--number", help="How many molecules.")] = ...,  # type: ignore[assignment]
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the results.")] = ...,  # type: ignore[assignment]
    atoms: Annotated[
        str | None, typer.Option("--atoms", metavar="18|12-20", help="Atoms per molecule; else as in the data.")
    ] = None,
    sampler: Annotated[str | None, typer.Option("--sampler", help="Sampler; else the model's own.")] = None,
    steps: Annotated[int | None, typer.Option("--steps", help="Steps of the sampler; else its own number.")] = None,
    batch_size: Annotated[int | None, typer.Option("--batch-size", help="Most molecules drawn together.")] = None,
    trajectory: Annotated[bool, typer.Option("--trajectory", help="Also write the way from noise.")] = False,
    report: Annotated[bool, typer.Option("--report/--no-report", help="Write report.html.")] = True,
    seed: Seed = 0,
    device: Device = "auto",
    dtype: Dtype = Precision.AUTO,
    threads: Threads = None,
    json: Json = None,
    overwrite: Overwrite = False,
    composition: _Later = None,
    scaffold: _Later = None,
    target: Annotated[list[str] | None, typer.Option(hidden=True)] = None,
    guidance: _Later = None,
    guide: _Later = None,
    relax: _Later = None,
) -> None:
    """Generate molecules: SDF, extended xyz, a table, scores and a page to look at."""
    keep_freed_memory()
    apply_threads(threads)
    from molgen.generation import GenerationInterrupted, load
    from molgen.generation.request import refuse_unsupported

    refuse_unsupported(guidance=guidance, guide=guide, relax=relax)
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
        )
    except GenerationInterrupted as stopped:
        done = 0 if stopped.molecules is None else len(stopped.molecules)
        typer.echo(f"{done} of {n} molecules are finished{f' and in {out}' if done else ''}", err=True)
        raise
    if json is not None:
        write_json(json, _summary(molecules, out, report))
    if json != STDOUT:
        _tell(molecules, out, report)
    if molecules.n_results < n:
        raise typer.Exit(ExitCode.FEWER)


def _tell(molecules: GeneratedMolecules, out: Path, report: bool) -> None:
    typer.echo(molecules.metrics.table())
    missing = molecules.n_asked - molecules.n_results
    if missing:
        typer.echo(f"{missing} of {molecules.n_asked} molecules failed; molecules.csv says why", err=True)
    typer.echo(out / "report.html" if report else out)


def _summary(molecules: GeneratedMolecules, out: Path, report: bool) -> dict[str, Any]:
    reference = molecules.reference
    return {
        "out": str(out),
        "report": str(out / "report.html") if report else None,
        "asked": molecules.n_asked,
        "results": molecules.n_results,
        "smiles": molecules.smiles,
        "metrics": molecules.metrics.as_dict(),
        "reference_metrics": None if reference is None else reference.as_dict(),
        "timing": molecules.record["timing"],
    }
