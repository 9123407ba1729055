"""Molecules as extended xyz text, as ASE reads it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from molgen.elements import SYMBOLS
from molgen.generation.sampling import finite_structures
from molgen.interfaces import State
from molgen.structures import Structures

__all__ = ["frame", "frames", "state_frames"]


def frame(species: list[int], positions: list[list[float]], info: Mapping[str, object]) -> str:
    """One molecule as extended xyz.

    Args:
        species: [n] atomic numbers.
        positions: [n, 3] Å.
        info: written into the comment line; None and empty text are left out, truth values are T and F, text is quoted.

    >>> print(frame([1], [[0.0, 0.0, 0.5]], {"index": 3, "valid": True}))
    1
    Properties=species:S:1:pos:R:3 index=3 valid=T pbc="F F F"
    H        0.00000000       0.00000000       0.50000000
    <BLANKLINE>
    """
    marks = " ".join(f"{key}={_value(value)}" for key, value in info.items() if value not in (None, ""))
    lines = [str(len(species)), f'Properties=species:S:1:pos:R:3 {marks} pbc="F F F"'.replace("  ", " ")]
    lines += [
        f"{SYMBOLS[number]:<2s} {x:16.8f} {y:16.8f} {z:16.8f}"
        for number, (x, y, z) in zip(species, positions, strict=True)
    ]
    return "\n".join(lines) + "\n"


def frames(structures: Structures, infos: list[dict[str, object]]) -> Iterator[str]:
    """The extended xyz of every structure, each with its own info."""
    species, positions = structures.species.tolist(), structures.positions.tolist()
    start = 0
    for count, info in zip(structures.n_atoms.tolist(), infos, strict=True):
        end = start + count
        yield frame(species[start:end], positions[start:end], info)
        start = end


def state_frames(state: State, indices: tuple[int, ...]) -> dict[int, str]:
    """The extended xyz of a state's molecules by index, marked with index, step and noise level in Å.

    A molecule whose coordinates are no longer finite is left out: no program could draw it.
    """
    infos: list[dict[str, object]] = [
        {"index": index, "step": state.step, "noise_level": round(level, 6)}
        for index, level in zip(indices, state.noise_level.tolist(), strict=True)
    ]
    whole = finite_structures(state.structures).tolist()
    texts = zip(indices, frames(state.structures, infos), whole, strict=True)
    return {index: text for index, text, keep in texts if keep}


def _value(value: object) -> str:
    if isinstance(value, bool):
        return "T" if value else "F"
    if isinstance(value, str):
        # quotes and line ends would end the value or the comment line, and a lone backslash (SMILES have them) is lost
        return '"' + " ".join(value.replace("\\", "\\\\").replace('"', "'").split()) + '"'
    return str(value)
