"""What a calculator refuses, before or after the model has seen it; every message is read."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ase import Atoms
from simulation.potentials import close, ethanol, mixture, poisoned, potential, silicon

from molgen.errors import StructureError
from molgen.models.potential import Potential
from molgen.simulation import Calculator
from molgen.simulation.evaluation import OutOfMemoryError

KNOWN = "expected one of H, C, N, O, Si"


def with_position(value: float) -> Atoms:
    atoms = ethanol()
    atoms.positions[4, 1] = value
    return atoms


def with_element(symbol: str) -> Atoms:
    atoms = ethanol()
    atoms.symbols[2] = symbol
    return atoms


def with_cell(value: float) -> Atoms:
    atoms = silicon()
    atoms.cell.array[1, 0] = value
    return atoms


def with_info(**info: object) -> Atoms:
    atoms = ethanol()
    atoms.info |= info
    return atoms


def flat() -> Atoms:
    atoms = silicon()
    atoms.cell[2] = atoms.cell[0] + atoms.cell[1]
    return atoms


def without_vector() -> Atoms:
    atoms = silicon()
    atoms.cell[2] = 0
    return atoms


def on_top() -> Atoms:
    atoms = ethanol()
    atoms.positions[7] = atoms.positions[2] + [0, 0, 2e-4]
    return atoms


def on_top_of_an_image() -> Atoms:
    atoms = silicon()
    atoms.positions[5] = atoms.positions[1] - atoms.cell[2]
    return atoms


def needle() -> Atoms:
    return Atoms("C", cell=[5e-4, 20, 20], pbc=(True, False, False))


REFUSED = {
    "no atoms": (Atoms(), "there are no atoms"),
    "NaN": (with_position(np.nan), r"position of atom 4 \(H\) is \[.*nan.*\].*expected finite numbers; .*exploded"),
    "inf": (with_position(-np.inf), r"position of atom 4 \(H\) is \[.*-inf"),
    "cell": (with_cell(np.nan), "a cell vector is not finite.*zeros"),
    "element": (with_element("Fe"), f"atom 2 is Fe, an element that the model doesn't know; {KNOWN}; choose a model"),
    "dummy": (with_element("X"), "atom 2 is X, an element"),
    "number": (Atoms(numbers=[6, 400]), "atom 1 is of number 400, an element"),
    "negative": (Atoms(numbers=[-1]), "atom 0 is of number -1, an element"),
    "elements": (Atoms("HFe3"), r"atom 1 is Fe.*\(3 atoms of unknown elements in all\)"),
    "coincident": (on_top(), r"atom 2 \([CO]\) and atom 7 \(H\) are 0.0002 Å apart; expected at least 0.001 Å; remove"),
    "same": (Atoms("HH"), r"atom 0 \(H\) and atom 1 \(H\) are 0 Å apart"),
    "image": (on_top_of_an_image(), r"atom 1 \(Si\) and a periodic image of atom 5 \(Si\) are .* Å apart"),
    "own image": (needle(), r"atom 0 \(C\) and a periodic image of atom 0 \(C\) are 0.0005 Å apart"),
    "flat": (flat(), "cell vectors are not independent"),
    "no vector": (without_vector(), "periodic along cell vector 2, which is zero; give the cell vector, or set pbc"),
    "charge": (with_info(charge=1), "its charge is 1, and the model was not trained to tell charges apart; expected 0"),
    "spin": (with_info(spin=3), "its spin is 3, and the model was not trained to tell spins apart; expected 1"),
    "no charge": (with_info(charge="plus"), r"info\['charge'\] is 'plus'"),
    "no spin": (with_info(multiplicity=0.5), r"info\['multiplicity'\] is 0.5"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_no_model_can_take_is_refused_by_name(name: str) -> None:
    atoms, message = REFUSED[name]
    calculator = Calculator(potential())
    for ask in (calculator.get_forces, calculator.get_potential_energy):
        with pytest.raises(StructureError, match=message) as caught:
            ask(atoms)
        assert "structure 0" not in str(caught.value)
    assert calculator.results == {}


@pytest.mark.parametrize("name", REFUSED)
def test_in_a_batch_it_is_refused_by_its_index(name: str) -> None:
    atoms, _ = REFUSED[name]
    calculator = Calculator(potential())
    with pytest.raises(StructureError) as alone:
        calculator.get_forces(atoms)
    with pytest.raises(StructureError, match=r" \(structure 2\)") as among:
        calculator.batched([ethanol(), mixture(), atoms, silicon(), mixture(20)])
    assert str(among.value).replace(" (structure 2)", "") == str(alone.value)


def test_a_calculator_works_again_after_a_refusal() -> None:
    calculator = Calculator(potential())
    atoms = silicon()
    expected = calculator.get_forces(atoms)
    with pytest.raises(StructureError):
        calculator.get_forces(with_cell(np.nan))
    assert close(calculator.get_forces(atoms), expected)


def test_atoms_that_went_bad_don_t_get_the_results_of_before() -> None:
    atoms = ethanol()
    atoms.calc = Calculator(potential())
    atoms.get_forces()
    atoms.positions[0, 0] = np.nan
    for _ in range(2):
        with pytest.raises(StructureError, match="position of atom 0"):
            atoms.get_forces()


def test_a_periodic_structure_is_refused_by_a_model_of_complete_graphs() -> None:
    calculator = Calculator(potential(encoder={"channels": 8, "layers": 1}))
    with pytest.raises(StructureError, match=r"it is periodic, and the model takes molecules alone; set pbc to False"):
        calculator.get_forces(silicon())
    with pytest.raises(StructureError, match=r"molecules alone \(structure 1\)"):
        calculator.batched([ethanol(), silicon()])


def test_asking_a_calculator_that_has_no_atoms_says_so() -> None:
    with pytest.raises(StructureError, match=r"no atoms yet; give them to the call"):
        Calculator(potential()).get_potential_energy()


@pytest.mark.parametrize("name", ["encoder", "heads"])
def test_a_result_that_is_no_number_is_an_error(name: str) -> None:
    calculator = Calculator(poisoned(potential(), name))
    with pytest.raises(
        StructureError, match=r"the model returned energy of nan; expected finite numbers; the structure is"
    ):
        calculator.get_potential_energy(ethanol())
    assert calculator.results == {}
    with pytest.raises(StructureError, match=r"the model returned energy of nan \(structure [01]\)"):
        calculator.batched([ethanol(), mixture()])


def test_a_force_that_is_no_number_is_an_error_with_its_atom() -> None:
    calculator = Calculator(poisoned(potential(heads=("direct-forces",))))
    with pytest.raises(StructureError, match=r"the model returned forces on atom 0 \(C\) of \[nan nan nan\]"):
        calculator.get_forces(ethanol())


class Greedy(Potential):
    """Says that memory is gone, as torch does, where there are more atoms than it can take."""

    most = 15
    words = "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory"
    kind: type = RuntimeError

    def forward(self, structures, graph=None, **options):
        if len(structures.species) > self.most:
            raise self.kind(self.words)
        return super().forward(structures, graph, **options)


def greedy(**changes: object) -> Calculator:
    calculator = Calculator(potential())
    model = calculator.model
    made = Greedy.__new__(Greedy)
    made.__dict__ |= model.__dict__ | changes
    calculator._served = type(calculator._served)(made, ((made, None),))
    return calculator


OF_MEMORY = [(RuntimeError, Greedy.words), (torch.OutOfMemoryError, "CUDA out of memory."), (MemoryError, "")]


@pytest.mark.parametrize(("kind", "words"), OF_MEMORY)
def test_a_structure_too_large_for_the_memory_is_told_of_as_that(kind: type, words: str) -> None:
    calculator = greedy(kind=kind, words=words)
    calculator.get_forces(ethanol())
    with pytest.raises(OutOfMemoryError, match=r"^20 atoms need more memory than cpu has left; take"):
        calculator.get_forces(mixture(20))
    assert calculator.results == {}


def test_other_errors_of_torch_pass_through() -> None:
    with pytest.raises(RuntimeError, match=r"^shapes differ$"):
        greedy(words="shapes differ").get_forces(mixture(20))


@pytest.mark.parametrize(("kind", "words"), OF_MEMORY)
def test_a_batch_too_large_for_the_memory_is_halved(kind: type, words: str) -> None:
    frames = [mixture(n) for n in (4, 12, 5, 14, 3, 8, 15)]
    found = greedy(kind=kind, words=words).batched(frames)
    for own, expected in zip(found, Calculator(potential()).batched(frames), strict=True):
        assert own["energy"] == pytest.approx(expected["energy"], rel=1e-12)
        assert np.allclose(own["forces"], expected["forces"], rtol=0, atol=1e-11)


def test_one_structure_too_large_for_the_memory_is_named() -> None:
    with pytest.raises(OutOfMemoryError, match=r"16 atoms.*\(structure 1\)"):
        greedy().batched([mixture(4), mixture(16), mixture(5)])
