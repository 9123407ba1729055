"""What a model predicts for many structures, batch by batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final

import torch
from torch import Tensor

from molgen.data.label_names import ATOM_LABELS
from molgen.errors import StructureError
from molgen.simulation.admission import refuse_coincident
from molgen.simulation.batched import plan
from molgen.simulation.evaluation import Model, OutOfMemoryError, evaluate, out_of_memory
from molgen.structures import Structures

__all__ = ["MAX_EDGES", "edge_counts", "predict"]

# of a batch: 2 GB or 20 GB for the derivatives of an encoder of 64 channels and four layers
MAX_EDGES: Final = {"cpu": 50_000, "cuda": 500_000}

_CHUNK = 512  # structures whose edges are counted at once


def predict(
    model: Model,
    structures: Structures,
    labels: Sequence[str],
    *,
    numbers: Sequence[int] | None = None,
    batch_size: int = 64,
    max_edges: int | None = None,
    on_batch: Callable[[int], None] | None = None,
) -> dict[str, Tensor]:
    """Predictions in the order of the structures, float64 on the CPU; a batch that doesn't fit in memory is halved.

    Args:
        model: in evaluation mode; what it doesn't provide is left out.
        structures: B structures with N atoms, on the CPU.
        labels: what is wanted, of energy, forces, stress, dipole and charges.
        numbers: [B] what errors call the structures; by default their places.
        batch_size: structures in a batch, at most.
        max_edges: edges in a batch, at most, by default as the device can take; a structure that has more is a batch of
            its own.
        on_batch: told how many structures are done.

    Returns:
        energy [B] eV, forces [N, 3] eV/Å, stress [B, 3, 3] eV/Å³ (NaN without three periodic directions), dipole
        [B, 3] e·Å (NaN where anything is periodic), charges [N] e.

    Raises:
        StructureError: a structure that the model can't take, that has atoms on top of each other, or for which the
            model returns what is not finite.
        ConfigError: a limit below one.
    """
    wanted = [label for label in labels if label in model.provides]
    rows = torch.split(torch.arange(len(structures.species)), structures.n_atoms.tolist())
    called = range(len(structures)) if numbers is None else numbers
    found: dict[str, Tensor] = {}
    done = 0
    most = MAX_EDGES.get(model.device.type, MAX_EDGES["cpu"]) if max_edges is None else max_edges
    batches = plan(edge_counts(model, structures).tolist(), batch_size, most)
    for batch in batches:
        for places, own in _halved(model, structures, called, batch, wanted):
            atoms = torch.cat([rows[place] for place in places])
            for label, values in own.items():
                size = len(structures.species) if label in ATOM_LABELS else len(structures)
                into = found.setdefault(label, values.new_empty((size, *values.shape[1:])))
                into[atoms if label in ATOM_LABELS else torch.tensor(places)] = values
            done += len(places)
            if on_batch is not None:
                on_batch(done)
    if "stress" in found:
        found["stress"][~structures.pbc.all(1)] = torch.nan
    if "dipole" in found:
        found["dipole"][structures.pbc.any(1)] = torch.nan
    return found


def edge_counts(model: Model, structures: Structures) -> Tensor:
    """[B] int64 edges that the model sees in each structure."""
    if model.cutoff is None:
        return structures.n_atoms * (structures.n_atoms - 1)
    counts = []
    for part in torch.arange(len(structures)).split(_CHUNK):
        some = structures.select(part)
        graph = model.graph(some)
        counts.append(torch.bincount(some.batch[graph.receivers], minlength=len(some)))
    return torch.cat(counts) if counts else torch.zeros(0, dtype=torch.int64)


def _halved(
    model: Model, structures: Structures, called: Sequence[int], batch: list[int], wanted: list[str]
) -> Iterator[tuple[list[int], dict[str, Tensor]]]:
    """The predictions for a batch, in as many parts as memory makes necessary."""
    waiting = [batch]
    while waiting:
        places = waiting.pop()
        try:
            found = _together(model, structures, called, places, wanted)
        except OutOfMemoryError as error:
            if len(places) == 1:
                where = f"structure {called[places[0]]}"
                raise OutOfMemoryError(error.what, where=where, remedy=error.remedy) from error
            found = None  # the next try is made when the error, and what it holds, is gone
        if found is not None:
            yield places, found
            continue
        if model.device.type == "cuda":
            torch.cuda.empty_cache()
        half = len(places) // 2
        waiting += [places[half:], places[:half]]


def _together(
    model: Model, structures: Structures, called: Sequence[int], places: list[int], wanted: list[str]
) -> dict[str, Tensor]:
    batch = structures.select(places).replace(atom_labels={}, structure_labels={}).to(model.device)
    with out_of_memory(len(batch.species), model.device):
        graph = model.graph(batch)
        refuse_coincident(graph, batch, [called[place] for place in places])
        found = evaluate(model, batch, graph, forces="forces" in wanted, stress="stress" in wanted)
    own = {label: found[label].detach().to("cpu", torch.float64) for label in wanted}
    for label, values in own.items():
        bad = ~torch.isfinite(values).reshape(len(values), -1).all(1)
        if label == "dipole":
            bad &= ~structures.pbc[places].any(1)  # what is periodic has none
        if bad.any():
            row = int(bad.nonzero()[0, 0])
            index = int(batch.batch[row]) if label in ATOM_LABELS else row
            raise StructureError(
                f"the model's {label} is not finite",
                where=f"structure {called[places[index]]}",
                remedy="the structure is far from all that the model was trained on: check its positions",
            )
    return own
