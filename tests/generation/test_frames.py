import io

import ase.io
import pytest
import torch

from molgen.generation.frames import frame, frames, state_frames
from molgen.interfaces import State
from molgen.structures import Structures


def read(text):
    return ase.io.read(io.StringIO(text), format="extxyz", index=":")


def test_ase_reads_positions_elements_and_marks_back():
    text = frame(
        [8, 1], [[0.0, -1.5, 2.25], [1e-3, 0.0, 123.456]], {"index": 7, "valid": False, "smiles": "C=O", "none": None}
    )
    (atoms,) = read(text)
    assert atoms.get_chemical_symbols() == ["O", "H"]
    assert atoms.positions.tolist() == [[0.0, -1.5, 2.25], [1e-3, 0.0, 123.456]]
    assert atoms.info == {"index": 7, "valid": False, "smiles": "C=O"}
    assert not atoms.pbc.any()


@pytest.mark.parametrize("text", ["C/C=C\\C", "[H]C#N", "a=b, c", "ends with a backslash \\"])
def test_texts_with_signs_of_their_own_come_back_unchanged(text):
    (atoms,) = read(frame([1], [[0.0, 0.0, 0.0]], {"smiles": text, "index": 1}))
    assert atoms.info == {"smiles": text, "index": 1}


@pytest.mark.parametrize("text", ['a "quoted" word', "two\nlines", ""])
def test_texts_that_the_format_can_not_hold_do_not_break_the_file(text):
    (atoms,) = read(frame([1], [[0.0, 0.0, 0.0]], {"reason": text, "index": 1}))
    assert atoms.info["index"] == 1
    assert set(atoms.info) <= {"reason", "index"}


def test_each_structure_gets_its_own_info():
    structures = Structures.build(torch.arange(9.0).reshape(3, 3), [1, 6, 8], n_atoms=[1, 2])
    read_back = read("".join(frames(structures, [{"index": 1}, {"index": 2}])))
    assert [str(atoms.symbols) for atoms in read_back] == ["H", "CO"]
    assert [atoms.info["index"] for atoms in read_back] == [1, 2]


def test_a_state_is_marked_with_step_and_noise_level():
    structures = Structures.build(torch.zeros(2, 3), [1, 6], n_atoms=[1, 1])
    state = State(structures, 3, 10, torch.tensor([0.5, 0.25]), torch.tensor([False, False]))
    infos = [read(text)[0].info for text in state_frames(state, (4, 2)).values()]
    assert infos == [{"index": 4, "step": 3, "noise_level": 0.5}, {"index": 2, "step": 3, "noise_level": 0.25}]


def test_a_state_leaves_out_what_is_no_longer_finite():
    structures = Structures.build(torch.zeros(3, 3), [1, 6, 6], n_atoms=[1, 2])
    broken = structures.replace(positions=torch.tensor([[0.0, 0, 0], [0, 0, 0], [0, torch.inf, 0]]))
    state = State(broken, 3, 10, torch.ones(2), torch.tensor([False, False]))
    assert list(state_frames(state, (4, 2))) == [4]
