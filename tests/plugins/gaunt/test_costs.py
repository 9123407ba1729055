"""How `auto` chooses."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

import pytest
import torch
from gaunt_reference import METHODS, form_of
from molgen_gaunt import costs
from molgen_gaunt.config import GauntConfig
from molgen_gaunt.costs import cost, fastest
from molgen_gaunt.product import GauntTensorProduct, build

CPU, F32 = torch.device("cpu"), torch.float32


def form(l_max: int, *, odd: bool = False) -> Any:
    return form_of([range(l_max + 1)] * 3, odd=odd)


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """`direct` grows with l⁴ and wins below l = 2; `grid` grows with l² and with rows; `fourier` has gaps."""
    even = {
        "direct": {"l_max": [1, 2, 4], "rows": [10, 1000], "microseconds": [[1, 1], [16, 16], [256, 256]]},
        "grid": {"l_max": [1, 2, 4], "rows": [10, 1000], "microseconds": [[2, 200], [8, 800], [32, 3200]]},
        "fourier": {"l_max": [1, 2], "rows": [10, 1000], "microseconds": [[None, 1e-3], [None, None]]},
    }
    tables = {"cpu": {"float32": {"even": even}}}
    monkeypatch.setattr(costs, "_table", lambda: tables)


@pytest.mark.usefixtures("measured")
def test_a_cost_is_read_between_and_beyond_what_was_measured() -> None:
    def of(l_max: int, rows: int) -> float | None:
        return cost("grid", form(l_max), rows, "cpu", F32)

    assert of(2, 10) == pytest.approx(8)
    assert of(3, 10) == pytest.approx(18)  # between, a power law
    assert of(2, 100) == pytest.approx(80)
    assert of(8, 10) == pytest.approx(128)  # beyond
    assert of(2, 100_000) == pytest.approx(80_000)
    assert of(2, 1) == pytest.approx(8)  # fewer rows than were measured cost no less
    assert of(2, 0) == pytest.approx(8)
    assert of(0, 10) == pytest.approx(2)


@pytest.mark.usefixtures("measured")
def test_what_was_not_measured_has_no_cost() -> None:
    assert cost("separable", form(2), 10, "cpu", F32) is None
    assert cost("fourier", form(2), 10, "cpu", F32) is None
    assert cost("grid", form(2, odd=True), 10, "cpu", F32) is None
    assert cost("grid", form(2), 10, "cpu", torch.float64) is None
    assert cost("grid", form(2), 10, "cuda", F32) is None


@pytest.mark.usefixtures("measured")
def test_two_forms_cost_their_sum_and_both_must_have_been_measured() -> None:
    assert fastest([form(1), form(4)], 10, CPU, F32) == "grid"  # 2 + 32 against 1 + 256
    assert fastest([form(1), form(1, odd=True)], 10, CPU, F32) == "grid"


@pytest.mark.usefixtures("measured")
def test_the_fastest_is_that_of_least_cost_and_grid_where_nothing_is_known() -> None:
    assert fastest([form(1)], 10, CPU, F32) == "direct"
    assert fastest([form(4)], 10, CPU, F32) == "grid"
    assert fastest([form(4)], 1000, CPU, F32) == "direct"
    assert fastest([form(4)], 1000, torch.device("mps"), F32) == "grid"
    assert fastest([form(4, odd=True)], 1000, CPU, F32) == "grid"


def product(method: str) -> GauntTensorProduct:
    irreps = "2x0e + 2x1o + 2x2e"
    return build(GauntConfig(method=method), irreps1=irreps, irreps2=irreps, irreps_out=irreps)


@pytest.mark.usefixtures("measured")
@pytest.mark.parametrize(("rows", "method"), [(3, "grid"), (1000, "direct")])
def test_auto_chooses_by_rows_times_channels(rows: int, method: str) -> None:
    """At l = 2 with two channels `direct` wins from ten rows on; the bits tell which one was used."""
    x, y = torch.randn(2, rows, 18)
    found = product("auto")(x, y)
    assert [each for each in METHODS if torch.equal(product(each)(x, y), found)] == [method]


@pytest.mark.usefixtures("measured")
def test_auto_does_not_depend_on_what_was_asked_before() -> None:
    """Equal inputs give equal bits, whether a process starts with them or comes to them later."""
    x, y = torch.randn(2, 13, 18)
    fresh, used = product("auto"), product("auto")
    for rows in (8, 15, 9, 2, 3000):
        used(torch.randn(rows, 18), torch.randn(rows, 18))
    torch.testing.assert_close(used(x, y), fresh(x, y), rtol=0, atol=0)


@pytest.mark.parametrize("method", METHODS)
def test_auto_agrees_with_every_method(method: str) -> None:
    x, y = torch.randn(2, 6, 18, dtype=torch.float64)
    torch.testing.assert_close(product("auto").double()(x, y), product(method).double()(x, y), rtol=1e-12, atol=1e-12)


def test_the_shipped_table_is_well_formed() -> None:
    document = json.loads((files("molgen_gaunt") / "costs.json").read_text(encoding="utf-8"))
    assert "about" in document
    for device, by_dtype in document["tables"].items():
        assert device in ("cpu", "cuda")
        for dtype, by_kind in by_dtype.items():
            assert dtype in ("float32", "float64")
            for kind, by_method in by_kind.items():
                assert kind in ("even", "odd")
                assert by_method.keys() <= set(costs.METHODS)
                for found in by_method.values():
                    assert found["l_max"] == sorted(set(found["l_max"]))
                    assert found["rows"] == sorted(set(found["rows"]))
                    assert min(found["l_max"]) >= 1
                    assert min(found["rows"]) >= 1
                    assert len(found["microseconds"]) == len(found["l_max"])
                    for line in found["microseconds"]:
                        assert len(line) == len(found["rows"])
                        assert all(t is None or t > 0 for t in line)


@pytest.mark.parametrize("l_max", [1, 3, 6])
def test_the_shipped_table_gives_a_method_that_works_here(l_max: int) -> None:
    for odd in (False, True):
        for dtype in (torch.float32, torch.float64):
            assert fastest([form(l_max, odd=odd)], 4096, CPU, dtype) in METHODS
