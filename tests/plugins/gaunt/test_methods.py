"""Every method computes the same form, in any of its three arguments."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pytest
import torch
from e3nn import o3
from gaunt_reference import DOUBLE, METHODS, SINGLE, error, form_of, table
from molgen_gaunt.channels import joined
from molgen_gaunt.form import Form, slot_of
from molgen_gaunt.memory import Reused
from molgen_gaunt.methods import Engine, engine_of
from molgen_gaunt.methods.direct import coefficients
from molgen_gaunt.methods.grid import Grid
from molgen_gaunt.quadrature import SYMMETRIES
from torch import Tensor

NAMES = (*METHODS, *(f"grid with {symmetry}" for symmetry in SYMMETRIES))

# l₁, l₂ and l₃ of three sides
DEGREES = {
    "scalars": ((0,), (0,), (0,)),
    "to 1": ((0, 1), (0, 1), (0, 1)),
    "to 3": (range(4), range(4), range(4)),
    "unequal": ((0, 1, 2, 3, 4), (0, 1), (0, 1, 2)),
    "gaps": ((1, 4), (0, 2, 5), (3, 6)),
    "single": ((3,), (2,), (1, 2, 3, 4, 5)),
    "truncated": (range(6), range(5), (0, 1)),
    "extended": (range(4), range(3), range(6)),
    "beyond every path": ((1, 2), (0, 1), (0, 1, 2, 3, 5)),
    "to 10": ((0, 3, 7, 10), (1, 6, 10), (0, 2, 5, 10)),
    "to 20": ((8, 10), (10,), (1, 18, 20)),
}
EVEN, ODD = ("even", False), ("odd", True)


def made(name: str, form: Form, dtype: torch.dtype = torch.float64) -> Engine:
    method, _, symmetry = name.partition(" with ")
    if symmetry:
        return Grid(form, dtype, "cpu", symmetry)
    return engine_of(method, form, dtype, torch.device("cpu"), "float32")


def rows(count: int, *widths: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(3)
    return [torch.randn(count, width, dtype=torch.float64, generator=generator) for width in widths]


def contracted(couples: Tensor, given: dict[int, Tensor]) -> Tensor:
    """The one of three arguments that was not given."""
    (wanted,) = {0, 1, 2} - set(given)
    operands = ",".join("b" + "ijk"[s] for s in given)
    return torch.einsum(f"{operands},ijk->b{'ijk'[wanted]}", *given.values(), couples)


@pytest.mark.parametrize("odd", [False, True], ids=["even", "odd"])
@pytest.mark.parametrize("degrees", DEGREES.values(), ids=DEGREES.keys())
@pytest.mark.parametrize("name", NAMES)
def test_has_the_coefficients_of_wigner_3j_in_every_argument(
    name: str, degrees: Sequence[Sequence[int]], odd: bool
) -> None:
    couples = table(degrees, odd=odd)
    form = form_of(degrees, odd=odd)
    inputs = dict(enumerate(rows(3, *couples.shape)))
    single = SINGLE if max(map(max, degrees)) <= 10 else 10 * SINGLE  # brackets of l = 20 are small sums of large terms
    for dtype, tolerance in ((torch.float64, DOUBLE), (torch.float32, single)):
        engine = made(name, form, dtype)
        for i, j in itertools.permutations(range(3), 2):
            expected = contracted(couples, {s: inputs[s] for s in (i, j)})
            found = engine.contract(inputs[i].to(dtype), inputs[j].to(dtype), i, j)
            assert found.dtype == dtype
            if expected.any():
                assert error(found, expected) < tolerance, (i, j, dtype)
            else:
                torch.testing.assert_close(found.double(), expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("name", NAMES)
def test_every_pair_of_degrees_up_to_six_agrees(name: str) -> None:
    """One row for each pair of components: all coefficients, none hidden in a sum."""
    degrees = (range(7), range(7), range(7))
    couples = table(degrees, odd=False)
    engine = made(name, form_of(degrees))
    one = torch.eye(49, dtype=torch.float64)
    found = engine.contract(one.repeat_interleave(49, 0), one.repeat(49, 1), 0, 1)
    assert error(found.view(49, 49, 49), couples) < DOUBLE


@pytest.mark.parametrize("name", NAMES)
def test_every_odd_path_is_there_and_proportional_to_wigner_3j(name: str) -> None:
    for l1, l2, l3 in itertools.product(range(1, 5), repeat=3):
        if (l1 + l2 + l3) % 2 == 0 or not abs(l1 - l2) <= l3 <= l1 + l2:
            continue
        engine = made(name, form_of(((l1,), (l2,), (l3,)), odd=True))
        n1, n2 = 2 * l1 + 1, 2 * l2 + 1
        found = engine.contract(
            torch.eye(n1, dtype=torch.float64).repeat_interleave(n2, 0),
            torch.eye(n2, dtype=torch.float64).repeat(n1, 1),
            0,
            1,
        ).view(n1, n2, -1)
        w3j = o3.wigner_3j(l1, l2, l3, dtype=torch.float64)
        factor = (found * w3j).sum() / w3j.square().sum()
        assert factor > 0.5
        assert error(found, factor * w3j) < 1e-12


@pytest.mark.parametrize("odd", [False, True], ids=["even", "odd"])
@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_aliased_into_degrees_that_no_path_reaches(name: str, odd: bool) -> None:
    """l₁ = 2, l₂ = 3 reach 0 … 5; the other parity of l₃ and all beyond must be zero."""
    form = form_of(((2,), (3,), range(12)), odd=odd)
    x, y = rows(5, 5, 7)
    found = made(name, form).contract(x, y, 0, 1)
    start = 0
    for degree in range(12):
        part = found[:, start : start + 2 * degree + 1].abs().max()
        start += 2 * degree + 1
        reached = 1 <= degree <= 5 and (5 + degree) % 2 == odd
        assert part > 1e-2 if reached else part < 1e-14 * found.abs().max() * 10


SIDES = {
    "regular": ("3x0e + 3x1o + 3x2e", "3x0e + 3x1o", "3x1o + 3x2e"),
    "one function first": ("0e + 1o + 2e", "3x0e + 3x1o", "3x0e + 3x1o + 3x2e"),
    "one function second": ("3x0e + 3x1o", "0e + 1o + 2e", "3x0e + 3x1o"),
    "one function of both": ("0e + 1o", "0e + 1o", "0e + 1o + 2e"),
    "missing channels": ("3x0e + 1x1o", "2x0e + 3x1o", "3x0e + 2x1o + 1x2e"),
}


def form_of_irreps(sides: Sequence[str], *, odd: bool) -> Form:
    irreps = [o3.Irreps(side) for side in sides]
    most = [max(joined(side).values()) for side in irreps]
    counts = [1 if most[0] == 1 else max(most), 1 if most[1] == 1 else max(most), max(most)]
    slots = [
        slot_of(side, naturals=True, channels=count, scale={1: 0.7}) for side, count in zip(irreps, counts, strict=True)
    ]
    first, second, third = (slot for slot in slots if slot is not None)
    return Form((first, second, third), odd)


@pytest.mark.parametrize("odd", [False, True], ids=["even", "odd"])
@pytest.mark.parametrize("sides", SIDES.values(), ids=SIDES.keys())
@pytest.mark.parametrize("name", NAMES)
def test_contractions_are_adjoint_to_each_other(name: str, sides: Sequence[str], odd: bool) -> None:
    """⟨xy, z⟩ = ⟨x, yz⟩ = ⟨y, xz⟩ for channels of every kind; both gradients at once are the same."""
    form = form_of_irreps(sides, odd=odd)
    engine = made(name, form)
    x, y, z = given = rows(4, *(slot.width for slot in form.slots))
    expected = (engine.contract(x, y, 0, 1) * z).sum()
    for i, j in itertools.permutations(range(3), 2):
        torch.testing.assert_close((engine.contract(given[i], given[j], i, j) * given[3 - i - j]).sum(), expected)
        both = engine.gradients(given[i], given[j], given[3 - i - j], i, j, memory=Reused(torch.float64, x.device))
        torch.testing.assert_close((both[0] * given[i]).sum(), expected)
        torch.testing.assert_close((both[1] * given[j]).sum(), expected)


@pytest.mark.parametrize("odd", [False, True], ids=["even", "odd"])
@pytest.mark.parametrize("sides", SIDES.values(), ids=SIDES.keys())
@pytest.mark.parametrize("name", NAMES)
def test_kept_memory_and_a_place_for_the_result_change_nothing(name: str, sides: Sequence[str], odd: bool) -> None:
    form = form_of_irreps(sides, odd=odd)
    engine = made(name, form)
    given = rows(6, *(slot.width for slot in form.slots))
    memory = Reused(torch.float64, torch.device("cpu"))
    before = []
    for i, j in itertools.permutations(range(3), 2):
        expected = engine.contract(given[i], given[j], i, j)
        before.append((expected, engine.contract(given[i], given[j], i, j, memory=memory)))
        for start in (0, 4):  # six rows in chunks of four
            part = slice(start, start + 4)
            out = torch.full((6, expected.shape[1]), torch.nan, dtype=torch.float64)
            result = engine.contract(given[i][part], given[j][part], i, j, memory=memory, out=out[part])
            torch.testing.assert_close(result, expected[part])
            torch.testing.assert_close(out[part], expected[part])
    for expected, kept in before:  # no result lies in memory that later ones were written to
        torch.testing.assert_close(kept, expected)


@pytest.mark.parametrize("odd", [False, True], ids=["even", "odd"])
@pytest.mark.parametrize("name", NAMES)
def test_no_rows_give_no_rows(name: str, odd: bool) -> None:
    form = form_of_irreps(SIDES["missing channels"], odd=odd)
    x, y = rows(0, form.slots[0].width, form.slots[1].width)
    for memory in (None, Reused(torch.float64, x.device)):
        assert made(name, form).contract(x, y, 0, 1, memory=memory).shape == (0, form.slots[2].width)


@pytest.mark.parametrize("odd", [False, True], ids=["even", "odd"])
def test_coefficients_that_selection_rules_forbid_are_exactly_zero(odd: bool) -> None:
    degrees = (range(5), range(4), range(6))
    found = torch.from_numpy(coefficients(form_of(degrees, odd=odd)))
    couples = table(degrees, odd=odd)
    assert error(found, couples) < DOUBLE
    l1, l2, l3 = torch.meshgrid(
        *(torch.tensor([l for l in d for _ in range(2 * l + 1)]) for d in degrees), indexing="ij"
    )
    forbidden = ((l1 + l2 + l3) % 2 != odd) | (l3 > l1 + l2) | (l3 < (l1 - l2).abs())
    assert not found[forbidden].any()
    assert (found == 0)[couples.abs() < 1e-12].double().mean() > 0.9  # the rules for m take most of the rest


@pytest.mark.parametrize("name", METHODS)
def test_tables_are_made_anew_from_float64_for_every_dtype(name: str) -> None:
    form = form_of((range(4), range(4), range(4)))
    x, y = rows(3, 16, 16)
    expected = made(name, form).contract(x, y, 0, 1)
    moved = made(name, form, torch.float32).double()
    assert moved.dtype == torch.float64
    torch.testing.assert_close(moved.contract(x, y, 0, 1), expected, rtol=0, atol=0)
    torch.testing.assert_close(moved.float().double().contract(x, y, 0, 1), expected, rtol=0, atol=0)
