"""`molgen evaluate`: errors of a potential on labelled data."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from molgen.cli.data import Keys, Units, pairs
from molgen.cli.options import (
    STDOUT,
    Device,
    Json,
    Overwrite,
    Precision,
    Seed,
    Threads,
    apply_threads,
    choose_device,
    warnings_told,
    write_json,
)

if TYPE_CHECKING:
    from molgen.evaluation import Evaluation

__all__ = ["evaluate"]

REPORT, ERRORS, PREDICTIONS = "report.html", "errors.json", "predictions.extxyz"


def evaluate(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Name of a registered potential, or path of its file.")],
    data: Annotated[
        Path, typer.Argument(metavar="DATA", help="Labelled structures: extxyz, ASE db or traj, npz, cache.")
    ],
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Folder for errors.json and report.html with plots.")
    ] = None,
    predictions: Annotated[
        bool, typer.Option("--predictions", help="With --out: also write predictions.extxyz.")
    ] = False,
    key: Keys = None,
    unit: Units = None,
    batch_size: Annotated[int, typer.Option("--batch-size", min=1, help="Structures in a batch, at most.")] = 64,
    limit: Annotated[
        int | None, typer.Option("--max", metavar="N", min=1, help="Take N structures, drawn at random.")
    ] = None,
    seed: Seed = 0,
    device: Device = "auto",
    dtype: Annotated[
        Precision, typer.Option("--dtype", help="float32 or float64; auto is that which the model was trained in.")
    ] = Precision.AUTO,
    threads: Threads = None,
    json: Json = None,
    overwrite: Overwrite = False,
) -> None:
    """Errors of a potential on labelled data: RMSE and MAE with 95 % intervals, as a table and as a page of plots."""
    from molgen.errors import ConfigError

    if dtype == Precision.MIXED:
        raise ConfigError("errors are not measured in bf16-mixed", expected="--dtype float32 or float64")
    if predictions and out is None:
        raise ConfigError("there is no folder for the predictions", remedy="give --out DIR")
    _refuse_existing(out, overwrite)
    apply_threads(threads)
    from molgen.evaluation import evaluate as run

    with warnings_told(), _bar() as on_batch:
        found = run(
            model,
            data,
            keys=pairs("--key", key),
            units=pairs("--unit", unit),
            device=choose_device(device),
            dtype=None if dtype == Precision.AUTO else dtype.value,
            batch_size=batch_size,
            limit=limit,
            seed=seed,
            on_batch=on_batch,
        )
    if out is not None:
        _write(out, found, predictions=predictions)
    if json is not None:
        write_json(json, found.to_json())
    if json != STDOUT:
        _tell(found, out)


def _refuse_existing(out: Path | None, overwrite: bool) -> None:
    from molgen.errors import OutputError

    for name in (REPORT, ERRORS, PREDICTIONS) if out is not None and not overwrite else ():
        if (out / name).exists():  # type: ignore[operator]
            raise OutputError(f"{out} has a {name} already", remedy="give --overwrite, or another folder")


def _write(out: Path, found: Evaluation, *, predictions: bool) -> None:
    from molgen.errors import OutputError
    from molgen.evaluation import write_evaluation
    from molgen.evaluation.writing import write_predictions
    from molgen.report.errors_page import write_errors_report

    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"can't make the folder {out}: {error.strerror}", remedy="choose another place") from error
    write_evaluation(out / ERRORS, found)
    write_errors_report(out / REPORT, found)
    if predictions:
        write_predictions(out / PREDICTIONS, found)


def _tell(found: Evaluation, out: Path | None) -> None:
    for note in found.notes:
        typer.echo(note)
    typer.echo(f"\n{found.table()}\n")
    if found.energy_shift is not None:
        typer.echo(f"mean error of the energies: {1e3 * found.energy_shift:+.4g} meV/atom")
    typer.echo(
        f"{len(found.structures)} structures in {found.seconds:.1f} s on {found.device} in {found.dtype}; structures "
        "are counted from 0 without isolated atoms"
    )
    if out is not None:
        typer.echo(out / REPORT)


@contextmanager
def _bar() -> Iterator[Callable[[int, int], None]]:
    """A bar on stderr, where that is a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("structures"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
