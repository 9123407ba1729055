"""`Cache`: a data set in one memory-mapped safetensors file, whose structures are picked by index.

The tensors, each with one row per atom, bond or structure, in order:

- `positions` [N, 3] Å: F32, F64, or I16 steps of the document's `scale`, centred per structure;
- `species` [N] U8; `n_atoms` [B], `n_bonds` [B], `bonds` [M, 2] (atoms within the structure, i < j): U8, wider where
  needed; `bond_orders` [M] U8; `bonds_known` [B] BOOL where only some are known;
- `charged_atoms` and `charges_of_atoms`: formal charges of the atoms that carry one;
- `cell` [B, 3, 3] Å F64, `pbc` [B, 3] BOOL, `charge` [B] e F64, `spin` [B]: only where not trivial;
- `atom:NAME` and `structure:NAME`: labels, as they came; NaN where a structure lacks one.

The document beside them, one JSON text in the metadata, is `molgen.data.layout.CacheDocument`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from torch import Tensor

from molgen.data.layout import (
    ATOM_LABEL,
    FORMAT_VERSION,
    METADATA_KEY,
    STRUCTURE_LABEL,
    CacheDocument,
    content_hash,
    hash_tensor,
)
from molgen.data.records import reason
from molgen.data.writer import write_cache
from molgen.errors import FileFormatError, InputError
from molgen.structures import Structures

__all__ = ["Cache", "write_cache"]

_HASH_BYTES = 1 << 24
_TYPE_NAMES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint32: "U32",
    torch.uint16: "U16",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}


class Cache:
    """An open cache; made by :meth:`open`.

    >>> import tempfile
    >>> water = Structures.build([[0.0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]], [8, 1, 1])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     document = write_cache([water, water], Path(folder) / "water.cache")
    ...     cache = Cache.open(Path(folder) / "water.cache")
    >>> len(cache), cache.structures([1]).formulas(), cache.elements
    (2, ['H2O'], (1, 8))
    """

    def __init__(self, path: Path, document: CacheDocument, tensors: Mapping[str, np.ndarray]) -> None:
        self.path = path
        self.document = document
        self._tensors = tensors
        counts = tensors["n_atoms"].astype(np.int64)
        self.n_atoms = torch.from_numpy(counts)  # [B] int64
        self._counts = counts
        self._offsets = np.cumsum(counts) - counts
        self._wide = document.precision == "float64"
        self._bond_counts = tensors["n_bonds"].astype(np.int64) if "n_bonds" in tensors else None
        self._bond_offsets = None if self._bond_counts is None else np.cumsum(self._bond_counts) - self._bond_counts
        self._formal_charges: np.ndarray | None = None
        if "charged_atoms" in tensors:
            self._formal_charges = np.zeros(document.n_atoms, tensors["charges_of_atoms"].dtype)
            self._formal_charges[tensors["charged_atoms"]] = tensors["charges_of_atoms"]

    @classmethod
    def open(cls, path: str | Path, *, verify: bool = True) -> Cache:
        """Open a cache file, mapped into memory.

        Args:
            path: the file.
            verify: read it once to compare its content with its fingerprint (about a second per GB).

        Raises:
            FileFormatError: the file is missing, truncated, altered, no cache, or of a newer format.
        """
        path = Path(path)
        where = str(path)
        document, tensors = _read(path)
        _check_shapes(document, tensors, where)
        if verify:
            running = content_hash(document.scale, document.isolated_energies)
            for name, tensor in sorted(tensors.items(), key=lambda item: (-item[1].element_size(), item[0])):
                data = tensor.contiguous().view(-1).view(torch.uint8).numpy().data
                blocks = (data[start : start + _HASH_BYTES] for start in range(0, len(data), _HASH_BYTES))
                hash_tensor(running, name, _TYPE_NAMES[tensor.dtype], tensor.shape, blocks)
            if running.hexdigest() != document.fingerprint:
                raise FileFormatError(
                    "the content doesn't match its fingerprint", where=where, remedy="convert the data again"
                )
        return cls(path, document, {name: tensor.numpy() for name, tensor in tensors.items()})

    def __len__(self) -> int:
        return self.document.n_structures

    @property
    def fingerprint(self) -> str:
        """Sha256 of the content, the same for the same data at the same precision."""
        return self.document.fingerprint

    @property
    def elements(self) -> tuple[int, ...]:
        """Atomic numbers that occur, ascending."""
        return self.document.elements

    def structures(self, indices: Sequence[int] | Tensor | np.ndarray) -> Structures:
        """The structures of the given indices, in that order, on the CPU.

        Args:
            indices: [B] from 0 to len − 1.

        Returns:
            Positions are float32, or float64 where the cache has them.

        Raises:
            InputError: an index that is not there.
        """
        chosen = np.asarray(indices, dtype=np.int64).reshape(-1)
        if len(chosen) and (chosen.min() < 0 or chosen.max() >= len(self)):
            wrong = int(chosen.min()) if chosen.min() < 0 else int(chosen.max())
            raise InputError(f"no structure {wrong}", where=str(self.path), expected=f"0 to {len(self) - 1}")
        counts = self._counts[chosen]
        starts = np.cumsum(counts) - counts
        atoms = _ranges(self._offsets[chosen], counts, starts)
        tensors = self._tensors
        dtype = torch.float64 if self._wide else torch.float32
        positions = tensors["positions"][atoms]
        if self.document.scale is not None:
            positions = positions.astype(np.float32) * np.float32(self.document.scale)
        n, b = len(atoms), len(chosen)
        charges = torch.zeros(n, dtype=torch.int64)
        if self._formal_charges is not None:
            charges = torch.from_numpy(self._formal_charges[atoms].astype(np.int64))
        bonds, orders, known = self._bonds(chosen, starts)
        return Structures(
            positions=torch.from_numpy(positions),
            species=torch.from_numpy(tensors["species"][atoms].astype(np.int64)),
            batch=torch.from_numpy(np.repeat(np.arange(b), counts)),
            n_atoms=torch.from_numpy(counts),
            cell=self._rows("cell", chosen, dtype, torch.zeros(b, 3, 3, dtype=dtype)),
            pbc=self._rows("pbc", chosen, torch.bool, torch.zeros(b, 3, dtype=torch.bool)),
            charge=self._rows("charge", chosen, dtype, torch.zeros(b, dtype=dtype)),
            spin=self._rows("spin", chosen, torch.int64, torch.ones(b, dtype=torch.int64)),
            formal_charges=charges,
            bonds=bonds,
            bond_orders=orders,
            bonds_known=known,
            atom_labels=self._labels(ATOM_LABEL, atoms),
            structure_labels=self._labels(STRUCTURE_LABEL, chosen),
        )

    def _rows(self, name: str, chosen: np.ndarray, dtype: torch.dtype, default: Tensor) -> Tensor:
        stored = self._tensors.get(name)
        return default if stored is None else torch.from_numpy(stored[chosen]).to(dtype)

    def _labels(self, prefix: str, rows: np.ndarray) -> dict[str, Tensor]:
        return {
            name.removeprefix(prefix): torch.from_numpy(values[rows])
            for name, values in self._tensors.items()
            if name.startswith(prefix)
        }

    def _bonds(self, chosen: np.ndarray, starts: np.ndarray) -> tuple[Tensor, Tensor, Tensor]:
        if self._bond_counts is None or self._bond_offsets is None:
            return (
                torch.zeros(0, 2, dtype=torch.int64),
                torch.zeros(0, dtype=torch.int64),
                torch.zeros(len(chosen), dtype=torch.bool),
            )
        counts = self._bond_counts[chosen]
        rows = _ranges(self._bond_offsets[chosen], counts, np.cumsum(counts) - counts)
        pairs = self._tensors["bonds"][rows].astype(np.int64) + np.repeat(starts, counts)[:, None]
        orders = self._tensors["bond_orders"][rows].astype(np.int64)
        known = self._tensors.get("bonds_known")
        mask = np.ones(len(chosen), bool) if known is None else known[chosen]
        return torch.from_numpy(pairs), torch.from_numpy(orders), torch.from_numpy(mask)


def _ranges(first: np.ndarray, counts: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """The indices first[0], first[0] + 1, …, first[1], …; `starts` is where each run begins in the result."""
    return np.arange(int(counts.sum())) + np.repeat(first - starts, counts)


def _read(path: Path) -> tuple[CacheDocument, dict[str, Tensor]]:
    where = str(path)
    try:
        with safe_open(path, framework="pt") as file:
            document = _document((file.metadata() or {}).get(METADATA_KEY), where)
            return document, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError:
        raise FileFormatError("there is no such file", where=where) from None
    except OSError as error:
        raise FileFormatError(f"can't read the file: {error.strerror or error}", where=where) from error
    except (SafetensorError, RuntimeError, ValueError, OverflowError) as error:
        raise FileFormatError(
            f"not a readable cache: {reason(error)}", where=where, remedy="make it with `molgen data convert`"
        ) from error


def _document(text: str | None, where: str) -> CacheDocument:
    remedy = "make it with `molgen data convert`"
    if text is None:
        raise FileFormatError("a safetensors file, but no cache of molgen", where=where, remedy=remedy)
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FileFormatError("the cache's document is no JSON", where=where, remedy=remedy) from error
    version = content.get("format_version") if isinstance(content, dict) else None
    if isinstance(version, int) and version > FORMAT_VERSION:
        raise FileFormatError(
            f"the cache has format {version}", where=where, expected=f"at most {FORMAT_VERSION}", remedy="update molgen"
        )
    try:
        return CacheDocument.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise FileFormatError(f"the cache's document is wrong: {key}: {first['msg']}", where=where) from error


def _check_shapes(document: CacheDocument, tensors: Mapping[str, Tensor], where: str) -> None:
    """Raise FileFormatError unless every tensor has the type and the rows that the document promises."""
    n, b, m = document.n_atoms, document.n_structures, document.n_bonds
    integers = {torch.uint8, torch.uint16, torch.uint32}
    positions = {"float32": torch.float32, "float64": torch.float64, "compact": torch.int16}[document.precision]
    shapes: dict[str, tuple[tuple[int, ...], set[torch.dtype]]] = {
        "positions": ((n, 3), {positions}),
        "species": ((n,), {torch.uint8}),
        "n_atoms": ((b,), integers),
        "n_bonds": ((b,), integers),
        "bonds": ((m, 2), integers),
        "bond_orders": ((m,), {torch.uint8}),
        "bonds_known": ((b,), {torch.bool}),
        "cell": ((b, 3, 3), {torch.float64}),
        "pbc": ((b, 3), {torch.bool}),
        "charge": ((b,), {torch.float64}),
        "spin": ((b,), {torch.int8, torch.int64}),
    }
    if "charged_atoms" in tensors:
        charged = (tensors["charged_atoms"].shape[0] if tensors["charged_atoms"].dim() else 0,)
        shapes["charged_atoms"] = (charged, integers)
        shapes["charges_of_atoms"] = (charged, {torch.int8, torch.int64})
    needed = {"positions", "species", "n_atoms"}
    needed |= {"n_bonds", "bonds", "bond_orders"} if document.n_bonds_known or m else set()
    needed |= {"charged_atoms", "charges_of_atoms"} if "charged_atoms" in tensors else set()
    needed |= set(document.labels)
    if missing := needed - set(tensors):
        raise FileFormatError(f"the cache has no tensor {min(missing)!r}", where=where)
    for name, tensor in tensors.items():
        if name in document.labels:
            right = tensor.dim() > 0 and len(tensor) == (n if name.startswith(ATOM_LABEL) else b)
            right &= tensor.dtype in _TYPE_NAMES
        else:
            shape, dtypes = shapes.get(name, ((-1,), set()))
            right = tuple(tensor.shape) == shape and tensor.dtype in dtypes
        if not right:
            raise FileFormatError(f"tensor {name!r} doesn't fit the cache's document", where=where)
    _check_values(document, tensors, where)


def _check_values(document: CacheDocument, tensors: Mapping[str, Tensor], where: str) -> None:
    def fits(condition: bool, what: str) -> None:
        if not condition:
            raise FileFormatError(what, where=where, remedy="convert the data again")

    arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
    counts = arrays["n_atoms"].astype(np.int64)
    fits(int(counts.sum()) == document.n_atoms, "the cache's atom counts don't add up to its atoms")
    found = np.flatnonzero(np.bincount(arrays["species"], minlength=1))
    fits(tuple(found.tolist()) == document.elements, "the cache's elements are not those it names")
    fits(all(0 < element <= 118 for element in document.elements), "the cache names elements that don't exist")
    if document.precision != "compact":
        fits(bool(np.isfinite(arrays["positions"]).all()), "the cache has coordinates that are not finite")
    if "charged_atoms" in arrays and len(arrays["charged_atoms"]):
        fits(int(arrays["charged_atoms"].max()) < document.n_atoms, "a formal charge has no atom")
    known = arrays["bonds_known"].sum() if "bonds_known" in arrays else len(counts) * ("n_bonds" in arrays)
    fits(int(known) == document.n_bonds_known, "bonds are known of more or fewer structures than the cache says")
    if "n_bonds" not in arrays:
        return
    bond_counts = arrays["n_bonds"].astype(np.int64)
    fits(int(bond_counts.sum()) == document.n_bonds, "the cache's bond counts don't add up to its bonds")
    pairs = arrays["bonds"].astype(np.int64)
    room = np.repeat(counts, bond_counts)
    fits(bool(((pairs[:, 0] < pairs[:, 1]) & (pairs[:, 1] < room)).all()), "a bond joins no two atoms of its structure")
