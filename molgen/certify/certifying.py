"""`certify`: measures a model and writes what was measured into its file."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from molgen.certify.certificate import Certificate, certificate_of, write_certificate
from molgen.certify.generators import measure_generator
from molgen.certify.measurement import Measurement
from molgen.certify.potentials import FULL, QUICK, measure_potential
from molgen.certify.samples import Samples, chosen_samples
from molgen.data.labelled import Labelled, read_labelled
from molgen.elements import SYMBOLS
from molgen.errors import OutputError
from molgen.evaluation import evaluate
from molgen.host.registry import registry
from molgen.models.checkpoint import Checkpoint, read_checkpoint
from molgen.models.loading import LoadedPotential
from molgen.models.potential import Potential
from molgen.models.restoration import restore, restore_potential
from molgen.models.zoo import find_model
from molgen.simulation.conditions import conditions_of
from molgen.structures import Structures

__all__ = ["certify"]

_DTYPES = (torch.float64, torch.float32)
_QUICK_TESTS = 200  # structures that errors are measured on


def certify(
    model: str | Path | Checkpoint,
    *,
    quick: bool = False,
    data: Labelled | Structures | str | Path | None = None,
    structures: Any = None,
    out: str | Path | None = None,
    overwrite: bool = False,
    write: bool = True,
    device: torch.device | str = "cpu",
    seed: int = 0,
    keys: Mapping[str, str] | None = None,
    units: Mapping[str, str] | None = None,
    note: Callable[[str], None] = lambda text: None,
) -> Certificate:
    """Measure a model, and write what was measured into its file.

    Of a potential: forces and stress against finite differences, equivariance, the drift of the energy at constant
    energy in float64 and float32, and errors on data where there are such. Of a generator: equivariance.

    Args:
        model: a registered name, the path of a model file, or a file that was read.
        quick: in about a minute: fewer displacements, 1 ps of 2 molecules in place of 10 ps of 5, and a coarse limit
            for the drift. The certificate says so.
        data: labelled structures that the model was not trained on, as `molgen.evaluate` takes them.
        structures: what to measure on: a file, `ase.Atoms` or `Structures`. Left out: some of the data, else molecules
            or crystals of the elements that the model knows.
        out: a copy to write; the model's own file if left out.
        overwrite: replace what stands at `out`.
        write: False to measure alone.
        device: "cpu", "cuda", …
        seed: of displacements, rotations and velocities.
        keys: as `molgen.evaluate` takes them.
        units: likewise.
        note: is told what is being measured.

    Raises:
        CheckpointError, PluginError: as `molgen.models.loading.load_potential`; or the file changed meanwhile.
        ConfigError: nothing can be built of the model's elements, and no structures were given.
        InputError: data or structures that can't be used.
        OutputError: the file can't be written.

    Example::

        from molgen.certify import certify

        print(certify("model.safetensors", data="held_out.extxyz").table())
    """
    started = time.perf_counter()
    checkpoint = model if isinstance(model, Checkpoint) else read_checkpoint(find_model(model).path)
    target = None if out is None else Path(out)
    if write and target is not None and target.exists() and not overwrite:
        raise OutputError("the file exists already", where=str(target), remedy="give --overwrite, or another name")
    if write and target is not None and not target.parent.is_dir():
        raise OutputError(
            "the file can't be written: there is no such folder", where=str(target), remedy="create the folder first"
        )
    if write and target is None and checkpoint.path is not None and not checkpoint.path.stat().st_mode & 0o222:
        raise OutputError(
            "the model file is read-only",
            where=str(checkpoint.path),
            remedy="write a copy with --out, or make it writable",
        )
    parts = _generator if checkpoint.document.task == "generator" else _potential
    measurements, further = parts(
        checkpoint, quick=quick, data=data, structures=structures, device=device, seed=seed, keys=keys, units=units,
        note=note,
    )  # fmt: skip
    content = certificate_of(
        checkpoint.document, measurements, quick=quick, seconds=time.perf_counter() - started, **further
    )
    path = write_certificate(checkpoint, content, target, overwrite=overwrite) if write else None
    return Certificate(content, path)


def _potential(
    checkpoint: Checkpoint,
    *,
    quick: bool,
    data: Labelled | Structures | str | Path | None,
    structures: Any,
    device: torch.device | str,
    seed: int,
    keys: Mapping[str, str] | None,
    units: Mapping[str, str] | None,
    note: Callable[[str], None],
) -> tuple[dict[str, Measurement], dict[str, Any]]:
    models = {dtype: restore_potential(checkpoint, device, dtype) for dtype in _DTYPES}
    exact, trained = models[torch.float64], models[getattr(torch, checkpoint.document.dtype)]
    labelled = read_labelled(data, keys=keys, units=units) if isinstance(data, str | Path) else data
    source = labelled.path.name if isinstance(labelled, Labelled) else "labelled structures"
    held = labelled.structures if isinstance(labelled, Labelled) else labelled
    extent = QUICK if quick else FULL
    samples = chosen_samples(exact, structures, held, count=extent.structures, source=source)
    test_errors = None
    if labelled is not None:
        note("errors on data")
        loaded = LoadedPotential(trained, checkpoint.document, checkpoint.path)
        limit = _QUICK_TESTS if quick else None
        found = evaluate(loaded, labelled, device=device, limit=limit, seed=seed).to_json()
        # names go with the file wherever it is taken, places on this machine don't
        test_errors = {**found, "model": checkpoint.document.name, "data": Path(source).name}
        del test_errors["notes"]
    measurements = measure_potential(models, samples, _symmetry(checkpoint), extent, seed=seed, note=note)
    return measurements, {
        "conditions": _conditions(trained),
        "structures": _coverage(exact, samples),
        "test_errors": test_errors,
    }


def _generator(
    checkpoint: Checkpoint,
    *,
    device: torch.device | str,
    seed: int,
    note: Callable[[str], None],
    **_: object,
) -> tuple[dict[str, Measurement], dict[str, Any]]:
    loaded = restore(checkpoint, device)
    measurements = measure_generator(loaded.module, _symmetry(checkpoint), seed=seed, note=note)
    conditions = {"dtype": _names(), "device": torch.device(device).type}
    return measurements, {"conditions": conditions, "structures": {"source": "random positions under noise"}}


def _symmetry(checkpoint: Checkpoint) -> str:
    """What the encoder claims."""
    use = checkpoint.document.components["encoder"].use
    return registry().resolve("encoder", use).component.capabilities.symmetry


def _names() -> list[str]:
    return sorted(str(dtype).removeprefix("torch.") for dtype in _DTYPES)


def _conditions(model: Potential) -> dict[str, object]:
    return conditions_of(model) | {"dtype": _names(), "threads": torch.get_num_threads()}


def _coverage(model: Potential, samples: Samples) -> dict[str, object]:
    missing = sorted(set(model.elements) - set(samples.elements))
    return {
        "source": samples.source,
        "formulas": samples.structures.formulas(),
        "atoms": samples.structures.n_atoms.tolist(),
        "elements_covered": [SYMBOLS[number] for number in samples.elements],
        "elements_missing": [SYMBOLS[number] for number in missing],
    }
