"""`molgen info`: what a model is, what it was trained on, and whether its certificate holds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import typer

from molgen.cli.options import STDOUT, Json, write_json

__all__ = ["info"]

_WIDTH = 13  # characters of the column of labels


def info(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Name of a registered model, or path of a model file.")],
    json: Json = None,
) -> None:
    """Show what a model is: components, elements and sizes, training record, certificate."""
    from molgen.models.checkpoint import read_checkpoint
    from molgen.models.strict_json import shown
    from molgen.models.summary import summarise
    from molgen.models.zoo import find_model

    located = find_model(model)
    summary = summarise(read_checkpoint(located.path), located.id)
    if json is not None:
        write_json(json, summary)
    if json == STDOUT:
        return
    for label, text in _rows(summary):
        # names and notes come from the file, and may be a stranger's
        typer.echo(f"{shown(label, 200):<{_WIDTH}} {shown(text, 2000)}".rstrip())


def _rows(summary: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield "model", summary["name"] + (f" ({summary['id']})" if summary["id"] else "")
    yield "file", f"{summary['path']}, {summary['bytes'] / 1e6:.2f} MB"
    yield "task", f"{summary['task']}, {summary['parameters']:,} parameters, {summary['dtype']}"
    for role, record in summary["components"].items():
        version = f"{record['distribution_version']}, component version {record['component_version']}"
        yield role, f"{record['use']} {version}"
        yield "", _flat(record["config"]) or "no options"
        for path, part in record["parts"].items():
            yield "", f"{path}: {part['use']} {part['distribution_version']}"
    if summary["molecules"] is not None:
        yield from _molecule_rows(summary["molecules"])
    if summary["potential"] is not None:
        yield from _potential_rows(summary["potential"])
    if summary["process"]:
        yield "process", _flat(summary["process"])
    yield "statistics", _flat(summary["statistics"])
    yield "units", _flat(summary["units"])
    yield "training", _flat(summary["training"]) or "not recorded"
    yield "seed", "not recorded" if summary["seed"] is None else str(summary["seed"])
    yield "data", summary["data_fingerprint"] or "not recorded"
    yield "libraries", _flat(summary["library_versions"]) or "not recorded"
    yield "tensors", f"sha256 {summary['tensors_sha256']}"
    yield from _certificate_rows(summary)


def _molecule_rows(molecules: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield "elements", ", ".join(molecules["elements"])
    sizes = f"{molecules['smallest']} to {molecules['largest']} atoms"
    mean = "" if molecules["mean_atoms"] is None else f", {molecules['mean_atoms']:.1f} on average"
    yield "molecules", f"{sizes}{mean}, counted over {molecules['structures']:,} of the data"
    for name in ("formal_charges", "bond_orders", "conditions"):
        if molecules[name]:
            yield name.replace("_", " "), ", ".join(map(str, molecules[name]))


def _potential_rows(potential: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield "elements", ", ".join(potential["elements"])
    yield "energies", f"of isolated atoms {potential['isolated_energies']}"
    if potential["conservative"]:
        yield "forces", "derivatives of the energy"
    else:
        yield "forces", "from a head of their own: they do not conserve energy"
    yield "conditions", ", ".join(potential["conditions"]) or "none: neutral singlets"


def _certificate_rows(summary: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The measurements of a certificate that was made of these tensors, or why there is none."""
    if not summary["certified"]:
        yield "certificate", summary["certification"]
        return
    from molgen.certify import certificate_lines

    certificate = summary["certificate"]
    if "measurements" in certificate:
        for number, line in enumerate(certificate_lines(certificate)):
            yield "certificate" if number == 0 else "", line
    else:
        yield "certificate", summary["certification"]
        yield "", _flat({key: value for key, value in certificate.items() if key != "tensors_sha256"})


def _flat(data: Mapping[str, Any], prefix: str = "") -> str:
    """Nested data in one line: `layers 6, codec.kind gaussian`."""
    parts = [
        _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) and value else f"{prefix}{key} {_text(value)}"
        for key, value in data.items()
    ]
    return ", ".join(parts)


def _text(value: object) -> str:
    if value is None or value == {} or value == []:
        return "none"
    if isinstance(value, list):
        return "[" + " ".join(map(str, value)) + "]"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
