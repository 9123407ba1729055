"""Drives molgen's encoders under a minimal read-out of the energy."""

from __future__ import annotations

from typing import Any

import serving
import torch
from harness.energy import build_energy_model
from torch import Tensor

import molgen


def build(network: dict[str, Any], batch: serving.Batch) -> serving.Network:
    """`network` has the encoder's id `use` and its `config`."""
    structures = molgen.Structures.build(batch.positions, batch.species, batch.n_atoms, cell=batch.cell, pbc=batch.pbc)
    model = build_energy_model(
        network["use"],
        network["config"],
        elements=batch.elements.tolist(),
        average_neighbors=batch.average_neighbors,
    )
    graph = model.graph(structures)
    inputs = model.one_hot(structures.species).to(torch.float32)  # beforehand, as the peers are given theirs

    def evaluate(positions: Tensor, create_graph: bool) -> tuple[Tensor, Tensor]:
        moved = structures.replace(positions=positions)
        return model.energy_and_forces(moved, graph, inputs, create_graph=create_graph)

    return serving.Network(model.to(torch.float32), evaluate)


if __name__ == "__main__":
    serving.serve(build, molgen=molgen.__version__)
