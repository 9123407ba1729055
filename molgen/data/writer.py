"""`write_cache`: batches of structures, streamed into one cache file."""

from __future__ import annotations

import json
import tempfile
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, get_args

import numpy as np
import torch
from torch import Tensor

from molgen.atomic import atomic_path
from molgen.data.layout import (
    ATOM_LABEL,
    METADATA_KEY,
    STRUCTURE_LABEL,
    UNITS,
    CacheDocument,
    Precision,
    Source,
    content_hash,
    hash_tensor,
)
from molgen.data.spool import Column, Spool
from molgen.errors import ConfigError, DroppedDataWarning, InputError, nearest
from molgen.structures import Structures

__all__ = ["write_cache"]

_INT16_MAX = 32767
_TYPE_NAMES = {
    "float64": "F64",
    "float32": "F32",
    "float16": "F16",
    "int64": "I64",
    "int32": "I32",
    "int16": "I16",
    "int8": "I8",
    "uint32": "U32",
    "uint16": "U16",
    "uint8": "U8",
    "bool": "BOOL",
}


def write_cache(
    batches: Iterable[Structures],
    path: str | Path,
    *,
    precision: Precision = "float32",
    source: Source | None = None,
    units: Mapping[str, str] | None = None,
    label_sources: Mapping[str, str] | None = None,
    isolated_energies: Mapping[int, float] | None = None,
) -> CacheDocument:
    """Write structures into a cache file, holding one batch in memory at a time.

    Args:
        batches: any number of structures each; all with labels of the same types. A label that some batches lack is
            NaN there, or left out with a warning if it is a whole number.
        path: the file to write; replaced only once everything is written.
        precision: "float32" and "float64" keep positions as given; "compact" centres each structure and stores 16
            bits per coordinate, one step for all the data (0.2 mÅ for molecules that span 13 Å).
        source: where the data came from, kept in the file.
        units: of labels that have no unit by convention.
        label_sources: key and unit that a label had where it came from, kept in the file.
        isolated_energies: atomic number to energy of the isolated atom in eV, kept in the file.

    Returns:
        The document of the file, its fingerprint in it.

    Raises:
        InputError: nothing to write, or labels whose types differ between batches.
        StructureError: a batch with numbers that are not finite, or elements that don't exist.
        OutputError: the file can't be written.
    """
    if precision not in get_args(Precision):
        raise ConfigError(f"unknown precision {precision!r}", remedy=nearest(precision, get_args(Precision)))
    path = Path(path)
    with (
        _claimed(path) as target,
        tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{path.name}.") as folder,
        Spool(Path(folder)) as spool,
    ):
        for batch in batches:
            _append(spool, batch, precision)
        return _assemble(spool, target, precision, source, units or {}, label_sources or {}, isolated_energies or {})


@contextmanager
def _claimed(path: Path) -> Iterator[Path]:
    # made at once, so that a place that can't be written is told before the work, by its own name
    with atomic_path(path) as target:
        target.touch()
        yield target


def _append(spool: Spool, batch: Structures, precision: Precision) -> None:
    batch = batch.to("cpu")
    batch.check()
    positions = batch.positions.detach()
    if positions.dtype == torch.float64 and precision != "float64":
        spool.rounded = True
        if len(positions) and positions.abs().max() > torch.finfo(torch.float32).max:
            raise InputError("a coordinate is too large for float32", remedy="choose the precision float64")
    if precision == "compact":
        positions = _centred(positions.to(torch.float64), batch)
    else:
        positions = positions.to(torch.float64 if precision == "float64" else torch.float32)
    spool.append("positions", positions.numpy())
    spool.append("species", batch.species.to(torch.uint8).numpy())
    spool.append("n_atoms", batch.n_atoms.numpy())
    spool.append("formal_charges", batch.formal_charges.numpy())
    owner = batch.batch[batch.bonds[:, 0]]
    order = torch.argsort(owner, stable=True)
    local = (batch.bonds - batch.offsets[owner][:, None])[order]
    spool.append("bonds", local.numpy())
    spool.append("bond_orders", batch.bond_orders[order].to(torch.uint8).numpy())
    spool.append("n_bonds", torch.bincount(owner, minlength=len(batch)).numpy())
    spool.append("bonds_known", batch.bonds_known.numpy())
    spool.append("cell", batch.cell.to(torch.float64).numpy())
    spool.append("pbc", batch.pbc.numpy())
    spool.append("charge", batch.charge.to(torch.float64).numpy())
    spool.append("spin", batch.spin.numpy())
    atom_labels = {name: _storable(name, values) for name, values in batch.atom_labels.items()}
    structure_labels = {name: _storable(name, values) for name, values in batch.structure_labels.items()}
    atoms = spool.columns["species"].rows - len(batch.species)  # of earlier batches
    spool.append_labels(ATOM_LABEL, atom_labels, atoms, len(batch.species))
    spool.append_labels(STRUCTURE_LABEL, structure_labels, spool.structures, len(batch))
    spool.elements.update(torch.unique(batch.species).tolist())
    spool.structures += len(batch)
    spool.batches += 1


def _storable(name: str, values: Tensor) -> np.ndarray:
    kind = str(values.dtype).removeprefix("torch.")
    if kind not in _TYPE_NAMES:
        raise InputError(f"label {name!r} is of type {kind}", expected=f"one of {', '.join(_TYPE_NAMES)}")
    return values.detach().numpy()


def _centred(positions: Tensor, batch: Structures) -> Tensor:
    total = torch.zeros(len(batch), 3, dtype=positions.dtype).index_add_(0, batch.batch, positions)
    centre = total / batch.n_atoms.clamp(min=1)[:, None]
    return positions - centre[batch.batch]


def _assemble(
    spool: Spool,
    target: Path,
    precision: Precision,
    source: Source | None,
    units: Mapping[str, str],
    label_sources: Mapping[str, str],
    isolated_energies: Mapping[int, float],
) -> CacheDocument:
    if spool.structures == 0:
        raise InputError("there are no structures to write", expected="at least one")
    columns = spool.columns
    partial = sorted(
        name
        for name, batches in spool.seen.items()
        if batches < spool.batches and columns[name].dtype.kind != "f"  # others are NaN where they lack
    )
    dropped = tuple(name.partition(":")[2] for name in partial)
    if dropped:
        message = f"labels that only some structures have are left out: {', '.join(dropped)}"
        warnings.warn(message, DroppedDataWarning, stacklevel=3)
    extent = columns["positions"].largest
    scale = (extent / _INT16_MAX or 1.0) if precision == "compact" else None
    _sparse_charges(spool)
    known = sum(int(block.sum()) for block in columns["bonds_known"].blocks())
    stored = {name: _width(name, columns, scale) for name in _kept(spool, known) if name not in partial}
    # wide types first, so that every tensor starts at a multiple of its width
    names = sorted(stored, key=lambda name: (-stored[name].itemsize, name))
    document = CacheDocument(
        n_structures=spool.structures,
        n_atoms=columns["positions"].rows,
        n_bonds=columns["bonds"].rows,
        n_bonds_known=known,
        elements=tuple(sorted(spool.elements)),
        precision=precision,
        scale=scale,
        position_error=_position_error(precision, scale, extent, spool.rounded),
        labels={name: _unit(name.partition(":")[2], units) for name in sorted(stored) if ":" in name},
        dropped_labels=dropped,
        source=source,
        label_sources=dict(label_sources),
        isolated_energies=dict(isolated_energies),
        format_version=2 if spool.gaps or label_sources or isolated_energies else 1,
        fingerprint="0" * 64,
    )
    with target.open("wb") as file:
        file.write(_header(document, names, stored, columns))  # its length doesn't depend on the fingerprint
        running = content_hash(scale, isolated_energies)
        for name in names:
            blocks = _written(file, columns[name].blocks(), stored[name], scale if name == "positions" else None)
            shape = (columns[name].rows, *columns[name].shape)
            hash_tensor(running, name, _TYPE_NAMES[stored[name].name], shape, blocks)
        document = document.model_copy(update={"fingerprint": running.hexdigest()})
        file.seek(0)
        file.write(_header(document, names, stored, columns))
    return document


def _unit(label: str, given: Mapping[str, str]) -> str:
    return given.get(label, UNITS.get(label, "not stated"))


def _sparse_charges(spool: Spool) -> None:
    # most atoms carry none: only those that do are kept, as (atom, charge)
    start = 0
    for block in spool.columns["formal_charges"].blocks():
        atoms = np.flatnonzero(block)
        if len(atoms):
            spool.append("charged_atoms", atoms + start)
            spool.append("charges_of_atoms", block[atoms])
        start += len(block)


def _kept(spool: Spool, known: int) -> list[str]:
    """The columns that say something: what is zero, singlet or unknown everywhere is left out."""
    columns = spool.columns
    kept = ["positions", "species", "n_atoms", *spool.seen]
    if known or columns["bonds"].rows:
        kept += ["bonds", "bond_orders", "n_bonds"]
        if known < spool.structures:
            kept.append("bonds_known")
    if "charged_atoms" in columns:
        kept += ["charged_atoms", "charges_of_atoms"]
    kept += [name for name in ("cell", "charge") if columns[name].largest > 0]
    if any(block.any() for block in columns["pbc"].blocks()):
        kept.append("pbc")
    if any((block != 1).any() for block in columns["spin"].blocks()):
        kept.append("spin")
    return kept


def _width(name: str, columns: Mapping[str, Column], scale: float | None) -> np.dtype:
    if name == "positions" and scale is not None:
        return np.dtype(np.int16)
    if name in ("n_atoms", "n_bonds", "bonds", "charged_atoms"):
        return np.min_scalar_type(int(columns[name].largest))
    if name in ("charges_of_atoms", "spin"):
        return np.dtype(np.int8) if columns[name].largest <= 127 else np.dtype(np.int64)
    return columns[name].dtype


def _position_error(precision: Precision, scale: float | None, extent: float, rounded: bool) -> float:
    half_ulp = 2.0**-24  # relative, of float32
    if extent == 0:
        return 0.0
    if scale is not None:
        return 0.5 * scale + 3 * half_ulp * extent  # scale, product and result are rounded once each
    return half_ulp * extent if precision == "float32" and rounded else 0.0


def _header(
    document: CacheDocument, names: list[str], stored: Mapping[str, np.dtype], columns: Mapping[str, Column]
) -> bytes:
    entries: dict[str, object] = {"__metadata__": {METADATA_KEY: document.text()}}
    start = 0
    for name in names:
        shape = [columns[name].rows, *columns[name].shape]
        end = start + int(np.prod(shape, dtype=np.int64)) * stored[name].itemsize
        entries[name] = {"dtype": _TYPE_NAMES[stored[name].name], "shape": shape, "data_offsets": [start, end]}
        start = end
    text = json.dumps(entries, ensure_ascii=True).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _written(file: BinaryIO, blocks: Iterator[np.ndarray], dtype: np.dtype, scale: float | None) -> Iterator[bytes]:
    for block in blocks:
        data = (block if scale is None else np.rint(block / scale)).astype(dtype).tobytes()
        file.write(data)
        yield data
