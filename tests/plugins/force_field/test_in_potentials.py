"""Several heads read one encoder in one pass, and learn together."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from encoders.cases import FIRST_LOCAL, Case
from encoders.geometry import molecule

from molgen.models.document import ElementRecord, PotentialRecord
from molgen.models.potential import Potential
from molgen.models.potential_assembly import assemble_potential

ELEMENTS = {symbol: ElementRecord(isolated_energy=-10.0) for symbol in ("H", "C", "N", "O")}


def potential_of(case: Case, *heads: str, forces_from: str | None = None) -> Potential:
    torch.manual_seed(0)
    record = PotentialRecord(elements=ELEMENTS, forces_from=forces_from, repulsion=False)
    return assemble_potential(SimpleNamespace(use=case.use, config=case.config), heads, record, 4.0).module


@pytest.mark.parametrize("case", FIRST_LOCAL, ids=str)
def test_a_potential_gives_what_its_heads_read(case: Case) -> None:
    model, structures = potential_of(case, "energy", "dipole", "charges"), molecule(4, 3)
    out = model(structures)
    assert model.conservative
    assert {name: tuple(value.shape) for name, value in out.items()} == {
        "energy": (2,),
        "energies": (7,),
        "interaction_energy": (2,),
        "forces": (7, 3),
        "dipole": (2, 3),
        "charges": (7,),
    }
    assert all(torch.isfinite(value).all() for value in out.values())
    assert out["charges"].split([4, 3])[0].sum().abs() < 1e-12


@pytest.mark.parametrize("case", FIRST_LOCAL, ids=str)
def test_forces_of_their_own_head_stand_beside_an_energy_where_the_model_says_so(case: Case) -> None:
    structures = molecule(5)
    out = potential_of(case, "energy", "direct-forces", forces_from="direct-forces")(structures)
    derived = potential_of(case, "energy")(structures)["forces"]
    assert out["forces"].sum(0).abs().max() < 1e-12
    assert (out["forces"] - derived).abs().max() > 1e-4
    assert not potential_of(case, "direct-forces").conservative


@pytest.mark.parametrize("case", FIRST_LOCAL, ids=str)
def test_heads_learn_together(case: Case) -> None:
    if not case.capabilities.double_backward:
        pytest.skip("it can't be differentiated twice")
    model, structures = potential_of(case, "energy", "dipole", "charges"), molecule(4, 4, 4)
    wanted = {"forces": 0.5 * torch.randn(12, 3), "dipole": torch.randn(3, 3), "charges": 0.3 * torch.randn(3, 4)}
    wanted["charges"] = (wanted["charges"] - wanted["charges"].mean(1, keepdim=True)).flatten()
    graph, losses = model.graph(structures), {name: [] for name in wanted}
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-2)
    for _ in range(25):
        out = model(structures, graph, create_graph=True)
        parts = {name: (out[name] - label).square().mean() for name, label in wanted.items()}
        optimizer.zero_grad()
        sum(parts.values()).backward()
        optimizer.step()
        for name, part in parts.items():
            losses[name].append(part.item())
    assert {name for name, past in losses.items() if not past[-1] < 0.9 * past[0]} == set()
