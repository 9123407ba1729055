"""`molgen samplers compare`: one model, several samplers and numbers of steps, and what each gives for its cost."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from molgen.allocation import keep_freed_memory
from molgen.cli.options import (
    STDOUT,
    Device,
    Dtype,
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
    from molgen.generation.comparison import Comparison

__all__ = ["compare"]


def compare(
    model: Annotated[str, typer.Argument(help="A registered model (`molgen models`), or the path of a file.")],
    n: Annotated[int, typer.Option("-n", "--number", help="Molecules of each row.")] = 100,
    samplers: Annotated[
        str | None,
        typer.Option(
            "--samplers",
            metavar="ID,ID",
            help="Which; else all that can draw from the model. Options behind a name: 'karras,flow order=2'.",
        ),
    ] = None,
    steps: Annotated[str, typer.Option("--steps", metavar="K,K", help="Numbers of steps.")] = "10,20,50",
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="DIR", help="Folder for compare.json and report.html.")
    ] = None,
    batch_size: Annotated[int | None, typer.Option("--batch-size", help="Most molecules drawn together.")] = None,
    seed: Seed = 0,
    device: Device = "auto",
    dtype: Dtype = Precision.AUTO,
    threads: Threads = None,
    json: Json = None,
    overwrite: Overwrite = False,
) -> None:
    """Compare samplers on one model: quality, with 95 % intervals, against evaluations of the network.

    Every row draws the same request. An interrupt leaves the rows that were finished.
    """
    chosen, counts = _samplers(samplers), _steps(steps)
    keep_freed_memory()
    apply_threads(threads)
    from molgen.generation import load
    from molgen.generation.comparison import ComparisonInterrupted
    from molgen.generation.comparison import compare as run
    from molgen.generation.comparison_files import make_folder, refuse_existing, write_comparison

    if out is not None and not overwrite:
        refuse_existing(out)
    generator = load(model, device=choose_device(device), dtype=dtype.value)

    def keep(found: Comparison) -> None:
        if out is not None and found.rows:
            write_comparison(out, found)
        elif out is not None:
            make_folder(out)

    try:
        found = run(generator, chosen, counts, n, seed=seed, batch_size=batch_size, on_row=keep)
    except ComparisonInterrupted as stopped:
        _tell(stopped.comparison, out, json)
        typer.echo(f"{len(stopped.comparison.rows)} of {stopped.comparison.planned} rows are finished", err=True)
        raise
    _tell(found, out, json)


def _tell(found: Comparison, out: Path | None, json: Path | None) -> None:
    if json is not None:
        write_json(json, found.as_dict())
    if json == STDOUT:
        return
    for name, reason in found.refused.items():
        typer.echo(f"molgen: warning: {name} is left out: {reason}", err=True)
    if found.rows:
        typer.echo(found.table())
        typer.echo("\nevaluations: of the network, per molecule; stable: D1, of the distance table; 95 % intervals")
    if out is not None and found.rows:
        typer.echo(out / "report.html")


def _samplers(text: str | None) -> dict[str, Any] | None:
    """`karras,flow order=2` as names, and beside each what `Generator.generate` takes."""
    if text is None:
        return None
    named = [" ".join(words) for part in text.split(",") if (words := part.split())]
    return {name: _sampler(*name.split()) for name in named}


def _sampler(use: str, *settings: str) -> str | dict[str, Any]:
    import yaml

    from molgen.errors import ConfigError

    config: dict[str, Any] = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals or not key:
            raise ConfigError(f"{setting!r} behind {use!r} sets nothing", where="--samplers", expected="KEY=VALUE")
        *parents, last = key.split(".")
        place = config
        for parent in parents:
            place = place.setdefault(parent, {})
            if not isinstance(place, dict):
                raise ConfigError(f"{parent} is set twice", where=f"--samplers, {use}", expected="one value")
        try:
            place[last] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise ConfigError(f"the value of {setting!r} is no YAML", where="--samplers", remedy="quote it") from None
    return {"use": use, "config": config} if config else use


def _steps(text: str) -> list[int]:
    from molgen.errors import RequestError

    try:
        return [int(part) for part in text.split(",") if part.strip()]
    except ValueError:
        raise RequestError(f"{text!r} is no list of numbers", where="--steps", expected="as in 10,20,50") from None
