"""Structures that hypothesis draws."""

from __future__ import annotations

import torch
from hypothesis import strategies as st

from molgen.structures import Structures, concatenate

__all__ = ["equal", "structures"]


@st.composite
def structures(
    draw: st.DrawFn, *, min_size: int = 0, max_size: int = 4, max_atoms: int = 6, periodic: bool = True
) -> Structures:
    """A batch of structures with every field filled, bonds sorted by structure; labels of each kind."""
    parts = [draw(_one(max_atoms, periodic)) for _ in range(draw(st.integers(min_size, max_size)))]
    return concatenate(parts) if parts else Structures.build([], [], n_atoms=[])


@st.composite
def _one(draw: st.DrawFn, max_atoms: int, periodic: bool) -> Structures:
    n = draw(st.integers(0, max_atoms))
    rng = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    pairs = [(i, j) for j in range(n) for i in range(j)]
    bonds = draw(st.lists(st.sampled_from(pairs), unique=True)) if pairs else []
    formal_charges = draw(st.lists(st.integers(-2, 2), min_size=n, max_size=n))
    pbc = draw(st.tuples(*[st.booleans()] * 3)) if periodic else (False, False, False)
    cell = torch.eye(3, dtype=torch.float64) * 5 + torch.randn(3, 3, generator=rng, dtype=torch.float64)
    return Structures.build(
        positions=torch.randn(n, 3, generator=rng, dtype=torch.float64) * 3,
        species=draw(st.lists(st.integers(1, 118), min_size=n, max_size=n)),
        cell=cell[None] if periodic else torch.zeros(1, 3, 3),
        pbc=[pbc],
        charge=[sum(formal_charges)],
        spin=[draw(st.integers(1, 4))],
        formal_charges=formal_charges,
        bonds=bonds,
        bond_orders=draw(st.lists(st.integers(1, 3), min_size=len(bonds), max_size=len(bonds))),
        bonds_known=[draw(st.booleans())],
        atom_labels={"forces": torch.randn(n, 3, generator=rng, dtype=torch.float64)},
        structure_labels={
            "energy": torch.randn(1, generator=rng, dtype=torch.float64),
            "dipole": torch.randn(1, 3, generator=rng, dtype=torch.float64),
        },
    )


def equal(a: Structures, b: Structures, *, leave_out: tuple[str, ...] = ()) -> bool:
    """Whether two batches are the same to the bit, dtypes included."""

    def same(x: torch.Tensor, y: torch.Tensor) -> bool:
        return x.dtype == y.dtype and torch.equal(x, y)

    for name in Structures.__dataclass_fields__:
        x, y = getattr(a, name), getattr(b, name)
        if name in leave_out:
            continue
        if name.endswith("_labels"):
            if set(x) != set(y) or not all(same(x[key], y[key]) for key in x):
                return False
        elif not same(x, y):
            return False
    return True
