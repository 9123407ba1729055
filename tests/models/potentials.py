"""Small potentials with random weights, for tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import torch

from molgen.models.document import ElementRecord, PotentialRecord
from molgen.models.potential_assembly import AssembledPotential, assemble_potential
from molgen.structures import Structures

ELEMENTS = {
    "H": ElementRecord(isolated_energy=-13.6, shift=-2.3, scale=1.1),
    "C": ElementRecord(isolated_energy=-1029.5, shift=-6.1, scale=2.0),
    "O": ElementRecord(isolated_energy=-2042.0, shift=-5.0, scale=1.7),
}
ENCODERS: dict[str, dict[str, Any]] = {
    "egnn": {"channels": 8, "layers": 2, "cutoff": 4.0},
    "gaunt": {"channels": 8, "l_max": 2, "radial_channels": 8, "cutoff": 4.0},
    "escn": {"channels": 8, "l_max": 2, "layers": 2, "cutoff": 4.0},
}


def assembled(
    use: str = "egnn", heads: Sequence[str] = ("energy",), config: Mapping[str, Any] | None = None, **record: Any
) -> AssembledPotential:
    """A potential of H, C and O; `record` are fields of `PotentialRecord`."""
    encoder = SimpleNamespace(use=use, config=ENCODERS[use] if config is None else config)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return assemble_potential(encoder, list(heads), PotentialRecord(elements=ELEMENTS, **record), 8.0)


def molecules(*, periodic: bool = False, seed: int = 0) -> Structures:
    """Two structures of five and three atoms that are no nearer than 0.9 Å."""
    rng = torch.Generator().manual_seed(seed)
    grid = torch.cartesian_prod(*[torch.arange(2.0)] * 3).to(torch.float64) * 1.5
    positions = grid + 0.25 * torch.rand(8, 3, generator=rng, dtype=torch.float64)
    cells = 5.0 * torch.eye(3, dtype=torch.float64) + torch.rand(2, 3, 3, generator=rng, dtype=torch.float64)
    given = {"cell": cells, "pbc": torch.ones(2, 3, dtype=torch.bool)} if periodic else {}
    return Structures.build(positions, [1, 6, 8, 1, 1, 6, 1, 8], n_atoms=[5, 3], **given)
