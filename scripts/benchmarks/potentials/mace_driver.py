"""Drives MACE (Batatia et al. 2022) as its ASE calculator calls it: eager, with e3nn's own TorchScript inside."""

from __future__ import annotations

from typing import Any

import mace  # first: it tells torch to read what the e3nn of its version keeps on disk  # isort: skip
import numpy as np
import serving
import torch
from ase import Atoms
from e3nn import o3
from mace import modules
from mace.calculators import MACECalculator
from torch import Tensor, nn


def build(network: dict[str, Any], batch: serving.Batch) -> serving.Network:
    """`network` may ask for the `calculator`: list of neighbours, stress and all."""
    model = _model(batch)
    if network.get("calculator"):
        return serving.Network(model, _calculator(model, batch))
    cells = batch.cell[batch.batch[batch.senders]]  # [E, 3, 3]
    prepared = {
        "node_attrs": nn.functional.one_hot(batch.kinds, len(batch.elements)).float(),
        # its vectors point from sender to receiver, ours the other way
        "edge_index": torch.stack((batch.senders, batch.receivers)),
        "unit_shifts": -batch.cell_shifts.float(),
        "shifts": -torch.einsum("ei,eij->ej", batch.cell_shifts.float(), cells),
        "cell": batch.cell.view(-1, 3),
        "batch": batch.batch,
        "ptr": torch.cat((batch.n_atoms.new_zeros(1), batch.n_atoms.cumsum(0))),
        "head": torch.zeros_like(batch.n_atoms),
    }

    def evaluate(positions: Tensor, create_graph: bool) -> tuple[Tensor, Tensor]:
        out = model({"positions": positions, **prepared}, training=create_graph)
        return out["energy"], out["forces"]

    return serving.Network(model, evaluate)


def _model(batch: serving.Batch) -> nn.Module:
    elements = batch.elements.tolist()
    return modules.ScaleShiftMACE(
        r_max=5.0,
        num_bessel=8,
        num_polynomial_cutoff=5,
        max_ell=3,
        interaction_cls=modules.RealAgnosticResidualInteractionBlock,
        interaction_cls_first=modules.RealAgnosticResidualInteractionBlock,
        num_interactions=2,
        num_elements=len(elements),
        hidden_irreps=o3.Irreps("32x0e + 32x1o"),
        MLP_irreps=o3.Irreps("16x0e"),
        gate=nn.functional.silu,
        atomic_energies=np.zeros(len(elements)),
        avg_num_neighbors=batch.average_neighbors,
        atomic_numbers=elements,
        correlation=3,
        radial_MLP=[64, 64, 64],
        atomic_inter_scale=1.0,
        atomic_inter_shift=0.0,
    )


def _calculator(model: nn.Module, batch: serving.Batch) -> Any:
    calculator = MACECalculator(models=[model], device="cpu", default_dtype="float32")
    atoms = Atoms(batch.species.numpy(), batch.positions.numpy(), cell=batch.cell[0].numpy(), pbc=batch.pbc[0].numpy())

    def evaluate(positions: Tensor, create_graph: bool) -> tuple[Tensor, Tensor]:
        atoms.positions = positions.numpy()
        calculator.calculate(atoms)
        return torch.tensor([calculator.results["energy"]]), torch.from_numpy(calculator.results["forces"])

    return evaluate


if __name__ == "__main__":
    serving.serve(build, mace=mace.__version__)
