"""Drives NequIP (Batzner et al. 2022), eager."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import serving
import torch
from ase import Atoms
from ase.data import chemical_symbols
from nequip.data.transforms import ChemicalSpeciesToAtomTypeMapper, NeighborListTransform
from nequip.integrations.ase import NequIPCalculator
from nequip.model import NequIPGNNModel
from nequip.utils.global_state import set_global_state
from torch import Tensor, nn

_CUTOFF = 5.0  # Å


def build(network: dict[str, Any], batch: serving.Batch) -> serving.Network:
    """`network` may ask for the `calculator`: list of neighbours and all."""
    symbols = [chemical_symbols[number] for number in batch.elements.tolist()]
    model = NequIPGNNModel(
        seed=0,
        model_dtype="float32",
        type_names=symbols,
        r_max=_CUTOFF,
        num_layers=3,
        l_max=1,
        parity=True,
        num_features=32,
        avg_num_neighbors=batch.average_neighbors,
        per_type_energy_scales=1.0,
        per_type_energy_shifts=0.0,
    )
    if network.get("calculator"):
        return serving.Network(model, _calculator(model, symbols, batch))
    prepared = {
        "atom_types": batch.kinds,
        "edge_index": torch.stack((batch.receivers, batch.senders)),  # its first one is the centre
        "batch": batch.batch,
        "num_atoms": batch.n_atoms,
    }
    if batch.pbc.any():
        prepared |= {"cell": batch.cell, "edge_cell_shift": batch.cell_shifts.to(batch.positions.dtype)}

    def evaluate(positions: Tensor, create_graph: bool) -> tuple[Tensor, Tensor]:
        out = model({"pos": positions, **prepared})  # whether it can be derived again is up to model.training
        return out["total_energy"].view(-1), out["forces"]

    return serving.Network(model, evaluate)


def _calculator(model: nn.Module, symbols: list[str], batch: serving.Batch) -> Any:
    transforms = [ChemicalSpeciesToAtomTypeMapper(symbols), NeighborListTransform(_CUTOFF)]
    calculator = NequIPCalculator(model.eval(), device="cpu", transforms=transforms)
    atoms = Atoms(batch.species.numpy(), batch.positions.numpy(), cell=batch.cell[0].numpy(), pbc=batch.pbc[0].numpy())

    def evaluate(positions: Tensor, create_graph: bool) -> tuple[Tensor, Tensor]:
        atoms.positions = positions.numpy()
        calculator.calculate(atoms)
        return torch.tensor([float(calculator.results["energy"])]), torch.from_numpy(calculator.results["forces"])

    return evaluate


if __name__ == "__main__":
    set_global_state()
    serving.serve(build, nequip=version("nequip"))
