"""The benchmark of encoders measures everyone alike, says who is missing and why, and writes what it prints."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

import molgen
from molgen.errors import ConfigError, StructureError
from molgen.neighbors import radius_graph

EGNN = {"channels": 8, "layers": 2, "cutoff": 4.0}
FINITE_DIFFERENCE = 1e-7  # of forces in float64, steps of 1e-4 Å: the square of the step, times third derivatives


@pytest.fixture
def parts(script):
    """The program; its modules can be imported beside it."""
    return script("benchmarks/encoders")


@pytest.fixture
def water(parts):
    from potentials.cases import water

    return water


def small_model(config: dict = EGNN):
    from harness.energy import build_energy_model

    torch.manual_seed(0)
    return build_energy_model("egnn", config, elements=(1, 6, 8), average_neighbors=8.0).double()


def test_forces_are_the_derivative_of_the_energy(water):
    model, box = small_model(), water(4).to(torch.float64)
    graph = model.graph(box)
    _, forces = model.energy_and_forces(box, graph)
    step = 1e-4
    for atom, axis in ((0, 0), (5, 2)):
        moved = torch.zeros_like(box.positions)
        moved[atom, axis] = step
        ends = [model.energy(box.replace(positions=box.positions + sign * moved), graph) for sign in (1, -1)]
        slope = float((ends[0] - ends[1]).detach().sum()) / (2 * step)
        assert forces[atom, axis] == pytest.approx(-slope, abs=FINITE_DIFFERENCE)
    assert forces.abs().max() > 1e-3


def test_energies_of_a_batch_are_those_of_its_structures(water):
    model = small_model()
    boxes = [water(3).to(torch.float64), water(5).to(torch.float64)]
    both = molgen.structures.concatenate(boxes)
    together = model.energy(both, model.graph(both))
    alone = torch.cat([model.energy(box, model.graph(box)) for box in boxes])
    torch.testing.assert_close(together, alone)


def test_a_loss_of_forces_reaches_the_weights(water):
    model, box = small_model(), water(3).to(torch.float64)
    _, forces = model.energy_and_forces(box, model.graph(box), create_graph=True)
    forces.square().sum().backward()
    assert model.encoder.embed.weight.grad.abs().max() > 0


def test_what_the_model_can_not_take_is_refused(water):
    from harness.energy import EnergyModel

    model = small_model()
    with pytest.raises(StructureError, match=r"\[7, 92\]"):
        model.one_hot(torch.tensor([1, 7, 92]))
    with pytest.raises(StructureError, match="complete graphs"):
        small_model({"channels": 8, "layers": 2}).graph(water(3))
    encoder = model.encoder
    encoder.irreps_out = encoder.irreps_out[1:]
    with pytest.raises(ConfigError, match="without invariants"):
        EnergyModel(encoder, (1, 8))


@pytest.mark.parametrize("molecules", [1, 8, 33, 333])
def test_water_has_its_density_and_its_shape(water, molecules):
    box = water(molecules)
    box.check()
    grams = molecules * 18.015 / 6.02214e23
    assert grams / (float(torch.linalg.det(box.cell[0])) * 1e-24) == pytest.approx(1.0, abs=1e-3)
    atoms = box.positions.view(molecules, 3, 3)
    lengths = (atoms[:, 1:] - atoms[:, :1]).norm(dim=-1)
    torch.testing.assert_close(lengths, torch.full_like(lengths, 0.957), atol=1e-3, rtol=0)
    graph = radius_graph(box, 1.2)
    assert torch.equal(graph.receivers // 3, graph.senders // 3)  # no two molecules touch
    assert torch.equal(box.positions, water(molecules).positions)


def test_the_molecule_is_drug_like_and_its_copies_differ(parts):
    from potentials.cases import ELEMENTS, molecule

    one, three = molecule(), molecule(3)
    assert one.n_atoms.tolist() == [27]
    assert set(one.species.tolist()) == set(ELEMENTS)
    first, second, _ = three.split()
    assert torch.equal(first.species, second.species)
    assert 0 < (first.positions - second.positions).abs().max() < 1


def test_every_driver_is_given_the_same_edges(parts, water, tmp_path):
    from potentials.cases import CUTOFF, Case
    from potentials.serving import Batch

    Case("box", lambda: water(5)).write(tmp_path)
    batch, graph = Batch.read(tmp_path / "box.npz"), radius_graph(water(5), CUTOFF)
    shifts = torch.einsum("ei,eij->ej", batch.cell_shifts.float(), batch.cell[batch.batch[batch.senders]])
    vectors = batch.positions[batch.senders] - batch.positions[batch.receivers] + shifts
    torch.testing.assert_close(vectors, graph.vectors)
    assert batch.elements[batch.kinds].tolist() == water(5).species.tolist()
    assert batch.average_neighbors == len(graph.senders) / 15


def test_a_driver_that_fails_says_why(parts, tmp_path):
    from potentials.workers import NoAnswerError, Worker

    with pytest.raises(NoAnswerError, match="nowhere can't be started"):
        Worker(tmp_path / "nowhere", "mace_driver", tmp_path)
    with (
        Worker(sys.executable, "no_such_driver", tmp_path) as worker,
        pytest.raises(NoAnswerError, match=r"ended with 2: .*no_such_driver"),
    ):
        worker.ask("threads", count=1)


def test_the_exponent_of_a_power_is_found(parts):
    from harness import Timing
    from potentials.growth import exponent, table

    sizes = [100, 300, 1000]
    assert exponent(sizes, [2e-3 * size**1.5 for size in sizes]) == pytest.approx(1.5)
    shown, plain = table({"a": {size: Timing((size * 1e-4,)) for size in sizes}, "b": {100: Timing((1.0,))}}, "atoms:")
    assert shown[0]["exponent"] == shown[0]["of the last two"] == "1.00"
    assert "exponent" not in shown[1]
    assert plain[0]["exponents_of_steps"] == pytest.approx([1.0, 1.0])


def test_figures_stand_beside_those_of_the_peer(parts):
    from harness import Timing
    from potentials.sections import Measured, table

    found = [
        Measured("ours", "training", "box", 1, Timing((0.5, 0.25))),
        Measured("MACE", "training", "box", 1, Timing((1.5,))),
        Measured("ours", "training", "alone", 1, Timing((1.0,))),
    ]
    assert table(found)[0] == {"network": "ours", "box": "2.67 (2.00–4.00)", "alone": "1.00 (1.00–1.00)"}
    assert table(found, beside="MACE")[0] == {"network": "ours", "box": "4.00"}
    assert Measured("ours", "memory", "box", 1, bytes=3_000_000).text() == "3"


def test_who_can_not_be_measured_is_left_out_with_the_reason(parts):
    from potentials import sections
    from potentials.cases import Case, molecule
    from potentials.workers import NoAnswerError

    @dataclass
    class Refusing:
        name: str
        trains: bool = True

        def prepare(self, case: Case, *, training: bool) -> str:
            if training:
                raise NoAnswerError("no second derivatives")
            return "key"

        def seconds(self, key: str, calls: int) -> float:
            return 2.0 * calls

    class Field:
        left_out: dict = {}  # noqa: RUF012
        contenders = (Refusing("a"), Refusing("b", trains=False))

    case = Case("molecule", molecule, calls=3)
    prepared = sections.prepare(Field, (case,), (case,))
    assert Field.left_out == {"a, training, molecule": "no second derivatives"}
    found = sections.times(prepared, 2, 4)
    assert [(one.network, one.section, one.threads, one.timing.seconds) for one in found] == [
        (name, "forces", 2, (6.0,) * 4) for name in "ab"
    ]


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peaks of memory are read from Linux's /proc")
def test_ours_are_measured_without_the_peers(parts, tmp_path, capsys):
    path = tmp_path / "encoders.json"
    parts.main(["--quick", "--threads", "1", "--mace-python", str(tmp_path / "python"), "--json", str(path)])
    found = json.loads(path.read_text(encoding="utf-8"))
    figures = {(row["section"], row["case"]): row for row in found["results"]["figures"]}
    assert set(figures) == {
        ("forces", "27 atoms"),
        ("forces", "24 atoms"),
        ("training", "24 atoms"),
        ("memory", "24 atoms"),
    }
    assert figures["memory", "24 atoms"]["bytes"] > 0
    assert len(figures["forces", "27 atoms"]["runs_s"]) == 2
    assert found["settings"]["parameters"]["egnn"] > 0
    printed = capsys.readouterr().out
    assert "left out: MACE: " in printed
    assert "left out: NequIP: give --nequip-python" in printed
