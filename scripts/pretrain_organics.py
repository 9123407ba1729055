"""Make a shipped potential of organic molecules: train, measure errors on what was held out, certify, write its card.

python scripts/pretrain_organics.py
python scripts/pretrain_organics.py --resume --anneal 30m --export weights/organics.safetensors
python scripts/pretrain_organics.py --config scripts/configs/organics-gaunt.yaml --export organics-gaunt.safetensors

--data is a folder with train, validation, test_molecules and test_frames (.extxyz or packed .extxyz.xz), as
`data/organics` is. Molecules of `validation` choose the best weights; what the two test files hold chooses nothing. The
certificate goes into the exported file itself: forces against differences, equivariance, drift, errors.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import molgen
from molgen.allocation import keep_freed_memory
from molgen.atomic import write_atomically
from molgen.data.labelled import read_labelled
from molgen.data.summary import file_hash
from molgen.errors import ConfigError, InputError, MolgenError
from molgen.models.checkpoint import Checkpoint, read_checkpoint, read_document, write_checkpoint
from molgen.models.document import Document
from molgen.training import TrainingConfig, parse_override, read_config
from molgen.training.joined import Joined

_FOLDER = Path(__file__).parent
_TESTS = {"test_molecules": "held-out molecules", "test_frames": "held-out frames of molecules it has seen"}
_SHOWN = ("energy_per_atom", "forces", "dipole", "charges")  # of the labels, those that stand on the card


def main(argv: Sequence[str] | None = None) -> None:
    """Train, export."""
    arguments = _arguments(argv)
    keep_freed_memory()
    overrides = dict(parse_override(text) for text in arguments.set)
    overrides["certify"] = False  # the exported file is
    overrides["data.path"] = str(file_of(arguments.data, "train"))
    overrides["data.validation_path"] = str(file_of(arguments.data, "validation"))
    if arguments.out is not None:
        overrides["out"] = str(arguments.out)
    config = read_config(arguments.config, overrides)
    if not arguments.no_train:
        molgen.train(
            config,
            resume=arguments.resume,
            devices=arguments.devices,
            budget=arguments.budget,
            anneal=arguments.anneal,
            overwrite=arguments.overwrite,
        )
    print(config.out)
    if arguments.export is not None:
        best = config.out / "best.safetensors"
        chosen = best if arguments.choose == "best" and best.exists() else config.out / "last.safetensors"
        export(chosen, config, arguments.data, arguments.export, quick=arguments.quick)


def file_of(folder: Path, name: str) -> Path:
    """A file of the data set, packed or not.

    Raises:
        InputError: there is none.
    """
    for path in (folder / f"{name}.extxyz.xz", folder / f"{name}.extxyz"):
        if path.exists():
            return path
    raise InputError(f"there is no {name}.extxyz.xz", where=str(folder), remedy="name the data's folder with --data")


def export(model: Path, config: TrainingConfig, data: Path, place: Path, *, quick: bool) -> None:
    """Write a trained potential with its errors and its certificate, and its card beside it.

    Args:
        model: a file that the run wrote.
        config: of the run.
        data: folder of the data set.
        place: of the file to write; the card has its name and ends in .md.
        quick: certify with few structures and short dynamics.

    Raises:
        ConfigError: the model was trained on other data.
    """
    from molgen.certify import certify

    checkpoint = read_checkpoint(model)
    training = checkpoint.document.training | _measured(model, checkpoint.document, config, data)
    document = Document.model_validate(checkpoint.document.model_dump() | {"training": training})
    place.parent.mkdir(parents=True, exist_ok=True)
    write_checkpoint(place, Checkpoint(document, checkpoint.tensors))
    certificate = certify(place, quick=quick, data=file_of(data, "test_molecules"), note=print)
    print(certificate.table())
    parameters = sum(tensor.numel() for tensor in checkpoint.tensors.values() if tensor.is_floating_point())
    text = card(read_document(place), parameters, place.stat().st_size, certificate.table())
    write_atomically(place.with_suffix(".md"), text)
    print(place)


def _measured(model: Path, document: Document, config: TrainingConfig, data: Path) -> dict[str, Any]:
    """What goes into the model's document: which data, and errors on those that were held out."""
    from molgen.evaluation import evaluate

    assert config.data.validation_path is not None  # set by `main`
    parts = [read_labelled(path).dataset for path in (config.data.path, config.data.validation_path)]
    if document.data_fingerprint != Joined(*parts).fingerprint:
        raise ConfigError(f"{model} was trained on other data", where=str(data), remedy="name its data with --data")
    errors, counts = {}, dict(zip(("train", "validation"), map(len, parts), strict=True))
    for name, title in _TESTS.items():
        found = evaluate(model, file_of(data, name), dtype="float64")
        print(f"{title}\n\n{found.table()}\n")
        counts[name] = len(found.structures)
        errors[name] = {each.name: each.as_dict() for each in found.errors if each.name in _SHOWN}
    files = {name: file_of(data, name) for name in counts}
    return {
        "data": {
            name: {"file": path.name, "sha256": file_hash(path), "structures": counts[name]}
            for name, path in files.items()
        },
        "errors": errors,
    }


def card(document: Document, parameters: int, size: int, certificate: str) -> str:
    """The card of an exported potential, as Markdown.

    Args:
        document: with the measured errors in `training`.
        parameters: of the network.
        size: of the file, bytes.
        certificate: as a table.
    """
    training: Mapping[str, Any] = document.training
    data, hardware, options = (training[key] for key in ("data", "hardware", "options"))
    device = f"{hardware['processor']}, {hardware['processes']} × {hardware['threads']} threads"
    counts = ", ".join(f"{part['structures']} {name.replace('_', ' ')}" for name, part in data.items())
    assert document.potential is not None
    facts = {
        "elements": ", ".join(document.potential.elements),
        "data": f"structures: {counts}",
        "data fingerprint": f"`{document.data_fingerprint}`",
        "samples seen": f"{training['samples']:,} in {training['steps']:,} steps of {options['batch_size']}",
        "time": f"{training['hours']:.2f} h, all sessions together",
        "before that": "; before that ".join(_earlier(training)) or "nothing: the weights were drawn at random",
        "hardware": f"{device if hardware['device'] == 'cpu' else hardware['processor']}, torch {hardware['torch']} "
        "(last session)",
        "optimiser": f"{options['optimizer']}, learning rate {options['learning_rate']}, {options['schedule']}, "
        f"{options['precision']}, moving average {options['ema_decay']}",
        "parameters": f"{parameters:,}, {document.dtype}; the file has {size / 1e6:.1f} MB",
        "tensors": f"sha256 `{document.tensors_sha256}`",
    }
    facts |= {role: f"`{record.use}` {_options(record.config)}" for role, record in document.components.items()}
    lines = [f"# {document.name}", "", "| | |", "|---|---|", *(f"| {name} | {text} |" for name, text in facts.items())]
    lines += ["", "Errors in float64, with 95 % intervals:", "", *_figures(training["errors"])]
    lines += ["", "Its certificate:", "", "```text", certificate, "```", ""]
    lines += ["Made and measured by `scripts/pretrain_organics.py`.", ""]
    return "\n".join(lines)


def _earlier(training: Mapping[str, Any]) -> Iterator[str]:
    """The models that it went on from, the last one first."""
    while training := training.get("started_from") or {}:
        yield f"{training['samples']:,} samples in {training['hours']:.2f} h (`{training['tensors_sha256'][:12]}`)"


def _figures(errors: Mapping[str, Any]) -> list[str]:
    def cell(found: Mapping[str, Any]) -> str:
        value, low, high = (found[key] for key in ("value", "low", "high"))
        interval = "" if low is None else f" ({1e3 * low:.1f}–{1e3 * high:.1f})"
        return f"{1e3 * value:.1f}{interval}"

    rows = [
        f"| {title} | {name.replace('_', ' ')}, m{found['unit']} | {cell(found['rmse'])} | {cell(found['mae'])} |"
        for test, title in _TESTS.items()
        for name, found in errors[test].items()
    ]
    return ["| on | of | RMSE | MAE |", "|---|---|---|---|", *rows]


def _options(config: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in config.items() if not isinstance(value, Mapping))


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--data", type=Path, default=Path("data/organics"), metavar="DIR", help="the data set (%(default)s)")
    add("--config", type=Path, default=_FOLDER / "configs/organics.yaml", help="of the run (%(default)s)")
    add("--out", type=Path, metavar="FOLDER", help="of the run; else the config's")
    add("--set", action="append", default=[], metavar="KEY=VALUE", help="override a key of the config")
    add("--resume", action="store_true", help="go on from the newest checkpoint")
    add("--overwrite", action="store_true", help="remove an earlier run first")
    add("--budget", metavar="TIME", help="save and stop after so long: 20m, 8h")
    add("--anneal", metavar="STEPS|TIME", help="with --resume: let the learning rate fall from here on, and end")
    add("--devices", type=int, default=1, help="devices that share each batch")
    add("--no-train", action="store_true", help="only export what the run's folder holds")
    add("--export", type=Path, metavar="FILE", help="measure the model and write it here, with its card beside it")
    add("--choose", choices=("best", "last"), default="best", help="best: of the lowest validation loss (%(default)s)")
    add("--quick", action="store_true", help="a certificate of few structures and short dynamics, in about a minute")
    return parser.parse_args(argv)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)  # the run has saved its state
    except MolgenError as error:
        sys.exit(f"pretrain_organics.py: error: {error}")
