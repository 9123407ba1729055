"""Make the shipped generator of small molecules: train on QM9, measure what came out, write model file and card.

python scripts/pretrain_qm9.py --data qm9_noF_3d.npz
python scripts/pretrain_qm9.py --data qm9_noF_3d.npz --resume --anneal 40m --export weights/qm9-egnn.safetensors

Data: any file that `molgen data info` reads, one of them packed with xz, or a cache. 100 000 structures train, 10 000
validate and the rest tests, by a seed that the config names. Training needs torch, e3nn, pydantic, pyyaml, safetensors
and lightning-fabric; the measuring of --export needs RDKit too.
"""

from __future__ import annotations

import argparse
import lzma
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import molgen
from molgen.allocation import keep_freed_memory
from molgen.atomic import write_atomically
from molgen.data.cache import Cache, write_cache
from molgen.data.layout import Source
from molgen.data.readers import format_of, iterate
from molgen.data.splits import split
from molgen.data.summary import file_hash
from molgen.errors import ConfigError, MolgenError
from molgen.models.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from molgen.models.document import Document
from molgen.training import TrainingConfig, parse_override, read_config

_FOLDER = Path(__file__).parent
_HISTOGRAM_SAMPLE = 2000  # held-out structures behind the histograms of a report


def main(argv: Sequence[str] | None = None) -> None:
    """Convert, train, export."""
    arguments = _arguments(argv)
    keep_freed_memory()
    overrides = dict(parse_override(text) for text in arguments.set)
    overrides["data.path"] = str(cached(arguments.data, arguments.cache))
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
        export(chosen_file(config.out, arguments.choose), config, arguments.export, arguments.molecules, arguments.seed)


def cached(data: Path, place: Path) -> Path:
    """The cache of a data file: itself, the one at `place` where that was made of it, or a new one there.

    Raises:
        FileFormatError: the file can't be read.
        OutputError: the cache can't be written.
    """
    with _unpacked(data) as file:
        if format_of(file) == "cache":
            return data
        source = Source(name=file.name, sha256=file_hash(file))
        if not (place.exists() and Cache.open(place, verify=False).document.source == source):
            place.parent.mkdir(parents=True, exist_ok=True)
            document = write_cache(iterate(file), place, source=source)
            print(f"{place}: {document.n_structures} structures, fingerprint {document.fingerprint[:12]}")
    return place


def chosen_file(folder: Path, choice: str) -> Path:
    """The model file of a run: the last one, or the one of the lowest validation loss, where there was a validation."""
    best = folder / "best.safetensors"
    return best if choice == "best" and best.exists() else folder / "last.safetensors"


def export(model: Path, config: TrainingConfig, place: Path, n: int, seed: int) -> None:
    """Write a trained model with its measured figures, and its card beside it.

    Args:
        model: a file that the run wrote.
        config: of the run.
        place: of the file to write; the card has its name and ends in .md.
        n: molecules that the figures are of.
        seed: they are drawn with.

    Raises:
        ConfigError: the model was trained on other data than the config names.
    """
    checkpoint, cache = read_checkpoint(model), Cache.open(config.data.path)
    if checkpoint.document.data_fingerprint != cache.fingerprint:
        raise ConfigError(f"{model} was trained on other data than {cache.path}", remedy="name its data with --data")
    training = checkpoint.document.training | _measured(model, config, cache, n, seed)
    document = Document.model_validate(checkpoint.document.model_dump() | {"training": training})
    place.parent.mkdir(parents=True, exist_ok=True)
    written = write_checkpoint(place, Checkpoint(document, checkpoint.tensors))
    parameters = sum(tensor.numel() for tensor in checkpoint.tensors.values() if tensor.is_floating_point())
    write_atomically(place.with_suffix(".md"), card(written, parameters, place.stat().st_size))
    print(place)


def _measured(model: Path, config: TrainingConfig, cache: Cache, n: int, seed: int) -> dict[str, Any]:
    """What goes into the model's document: data, figures of n molecules, and the same of held-out structures."""
    import torch

    from molgen.chemistry import METRICS, Metrics, Molecules, Reference
    from molgen.report import distributions

    data = config.data
    n_train = max(len(cache) - data.validation, 1) if data.train is None else data.train
    train, _, test = split(len(cache), n_train, data.validation, data.split_seed)
    generator = molgen.load(model, device="cuda" if torch.cuda.is_available() else "cpu")
    molecules = generator.generate(n, seed=seed)
    known = Reference(cache.structures(train))  # what is novel is not among these
    found = {metric.name: metric.measure(molecules, known) for metric in METRICS}
    ceiling = Reference(cache.structures(test)).metrics(n) if len(test) else None
    metrics = Metrics({name: metric for name, metric in found.items() if metric is not None}, ceiling)
    print(metrics.table())
    request = molecules.record["request"]
    source = cache.document.source
    measured: dict[str, Any] = {
        "data": {
            "file": cache.path.name if source is None else source.name,
            "sha256": None if source is None else source.sha256,
            "train": len(train),
            "validation": data.validation,
            "test": len(test),
            "split_seed": data.split_seed,
        },
        "metrics": metrics.as_dict(),
        "metrics_request": {key: request[key] for key in ("n", "seed", "sampler", "n_steps")},
    }
    if ceiling is not None:
        bonded = Molecules(cache.structures(test[:_HISTOGRAM_SAMPLE])).bonded()
        # sizes are in the schema already
        histograms = [each for each in distributions(bonded) if each.title != "Atoms per molecule"]
        measured["reference_metrics"] = ceiling.as_dict()
        measured["reference_histograms"] = [histogram.to_json() for histogram in histograms]
    return measured


def card(document: Document, parameters: int, size: int) -> str:
    """The card of an exported model, as Markdown.

    Args:
        document: with the measured figures in `training`.
        parameters: of the network.
        size: of the file, bytes.
    """
    training: Mapping[str, Any] = document.training
    data, request, hardware, options = (training[key] for key in ("data", "metrics_request", "hardware", "options"))
    device = f"{hardware['processor']}, {hardware['processes']} × {hardware['threads']} threads"
    facts = {
        "data": f"{data['file']}, {data['train']} structures to train, {data['validation']} to validate, "
        f"{data['test']} held out for tests; split seed {data['split_seed']}",
        "data fingerprint": f"`{document.data_fingerprint}`",
        "samples seen": f"{training['samples']:,} in {training['steps']:,} steps of {options['batch_size']}",
        "time": f"{training['hours']:.2f} h, all sessions together",
        "hardware": f"{device if hardware['device'] == 'cpu' else hardware['processor']}, torch {hardware['torch']} "
        "(last session)",
        "optimiser": f"{options['optimizer']}, learning rate {options['learning_rate']}, {options['schedule']}, "
        f"{options['precision']}, moving average {options['ema_decay']}",
        "validation loss": "none" if training["validation_loss"] is None else f"{training['validation_loss']:.5f}",
        "parameters": f"{parameters:,}, {document.dtype}; the file has {size / 1e6:.1f} MB",
        "tensors": f"sha256 `{document.tensors_sha256}`",
    }
    facts |= {role: f"`{record.use}` {_options(record.config)}" for role, record in document.components.items()}
    lines = [f"# {document.name}", "", "| | |", "|---|---|", *(f"| {name} | {text} |" for name, text in facts.items())]
    lines += [
        "",
        f"{request['n']} molecules, seed {request['seed']}, `{request['sampler']}` with {request['n_steps']} steps, "
        "beside the held-out structures; per cent with 95 % intervals:",
        "",
        *_figures(training["metrics"], training.get("reference_metrics", {})),
        "",
        "Made and measured by `scripts/pretrain_qm9.py`.",
        "",
    ]
    return "\n".join(lines)


def _figures(metrics: Mapping[str, Any], reference: Mapping[str, Any]) -> list[str]:
    from molgen.chemistry import METRICS

    def cell(found: Mapping[str, float] | None, unit: str) -> str:
        if found is None:
            return "–"
        value, low, high = (found[key] for key in ("value", "low", "high"))
        if unit != "%":
            return f"{value:.3g} ({low:.3g}–{high:.3g}) {unit}"
        return f"{100 * value:.1f} ({100 * low:.1f}–{100 * high:.1f})"

    rows = [
        f"| `{m.name}` | {cell(metrics[m.name], m.unit)} | {cell(reference.get(m.name), m.unit)} | {m.summary} |"
        for m in METRICS
        if m.name in metrics
    ]
    return ["| metric | model | data | what it is |", "|---|---|---|---|", *rows]


def _options(config: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in config.items() if not isinstance(value, Mapping))


@contextmanager
def _unpacked(path: Path) -> Iterator[Path]:
    """The file, or, while the context lasts, what was packed in it with xz."""
    if path.suffix != ".xz":
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / path.stem
        try:
            with lzma.open(path) as packed, file.open("wb") as target:
                shutil.copyfileobj(packed, target)
        except (OSError, lzma.LZMAError, EOFError) as error:
            raise ConfigError(f"can't unpack {path}: {error}", remedy="name a whole file packed with xz") from error
        yield file


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--data", type=Path, required=True, metavar="FILE", help="structures, or a cache of them")
    add("--cache", type=Path, default=Path("runs/qm9.cache"), help="where data of another format are converted to")
    add("--config", type=Path, default=_FOLDER / "configs/qm9-egnn.yaml", help="of the run (%(default)s)")
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
    add("--molecules", type=int, default=1000, help="that the card's figures are of (%(default)s)")
    add("--seed", type=int, default=0, help="that they are drawn with (%(default)s)")
    return parser.parse_args(argv)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)  # the run has saved its state
    except MolgenError as error:
        sys.exit(f"pretrain_qm9.py: error: {error}")
