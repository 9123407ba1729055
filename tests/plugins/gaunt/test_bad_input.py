"""What can't work is refused, in words that name both sides."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

import molgen
from molgen.errors import ConfigError, InputError

NAMES = ["gaunt", "clebsch-gordan"]
IRREPS = "2x0e + 2x1o"

both = pytest.mark.parametrize("name", NAMES)


def product(name: str = "gaunt", *sides: Any, **options: Any) -> Any:
    irreps1, irreps2, irreps_out = sides or (IRREPS, IRREPS, IRREPS)
    return molgen.build("tensor_product", name, irreps1=irreps1, irreps2=irreps2, irreps_out=irreps_out, config=options)


def refused(expected: type[Exception], words: list[str], call: Any, *given: Any, **options: Any) -> str:
    with pytest.raises(expected) as caught:
        call(*given, **options)
    message = str(caught.value)
    assert all(word in message for word in words), message
    return message


@both
@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("wrong", ["2x0q", "", "0x1o", "1o + ", "-1x0e"])
def test_irreps_that_are_none_are_refused_with_the_name_of_their_side(name: str, place: int, wrong: str) -> None:
    sides = [IRREPS] * 3
    sides[place] = wrong
    refused(ConfigError, [("irreps1", "irreps2", "irreps_out")[place]], product, name, *sides)


@pytest.mark.parametrize("wrong", [3, 2.5, [("a", "b")]])
def test_things_of_other_types_are_no_irreps(wrong: object) -> None:
    refused(ConfigError, ["irreps2", repr(wrong)], product, "gaunt", IRREPS, wrong, IRREPS)


def test_irreps_are_named_as_they_were_written() -> None:
    refused(ConfigError, ["'2x0q'", "irreps1", "16x0e"], product, "gaunt", "2x0q", IRREPS, IRREPS)


@both
def test_an_output_that_no_path_reaches_is_refused(name: str) -> None:
    message = refused(ConfigError, ["3o", "2x0e+2x1o"], product, name, IRREPS, IRREPS, "2x0e + 2x3o", parity="full")
    assert "parity: full" not in message
    message = refused(ConfigError, ["3o"], product, name, IRREPS, IRREPS, "2x0e + 2x3o", parity="even")
    assert "full" not in message  # which would not help
    refused(ConfigError, ["1e", "parity: full"], product, name, IRREPS, IRREPS, "2x0e + 2x1e", parity="even")
    product(name, IRREPS, IRREPS, "2x0e + 2x1e", parity="full")


@both
def test_more_channels_out_than_in_are_refused(name: str) -> None:
    refused(ConfigError, ["3x0e", "2", "irreps_out"], product, name, IRREPS, IRREPS, "3x0e")
    product(name, IRREPS, IRREPS, "3x0e", mode="fully-connected")


def test_degrees_beyond_the_dtype_are_refused() -> None:
    refused(ConfigError, ["97", "96", "float32", "40"], product, "gaunt", "40e", "30e", "27e", parity="full")


@pytest.fixture(params=[torch.bfloat16, torch.float16])
def coarse(request: pytest.FixtureRequest) -> Iterator[str]:
    """A default dtype that no quadrature is exact in."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(request.param)
    yield str(request.param)
    torch.set_default_dtype(before)


def test_a_product_is_not_built_in_half_precision(coarse: str) -> None:
    refused(ConfigError, [coarse, "float32", "float64"], product)


@both
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"paritty": "full"}, ["paritty", "parity"]),
        ({"parity": "odd"}, ["parity", "odd", "even"]),
        ({"normalization": "norm"}, ["normalization", "norm", "component"]),
        ({"weights": True}, ["weights"]),
        ({"mode": "uvw"}, ["mode", "uvw", "channelwise"]),
    ],
    ids=str,
)
def test_options_that_are_not_there_are_refused_with_their_key(
    name: str, options: dict[str, Any], words: list[str]
) -> None:
    refused(ConfigError, words, product, name, **options)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"method": "fft"}, ["method", "fft", "fourier"]),
        ({"rank": 0}, ["rank", "0", "1"]),
        ({"precision": "fp8"}, ["precision", "fp8", "tf32"]),
    ],
    ids=str,
)
def test_options_of_gaunt_alone_are_refused_with_their_key(options: dict[str, Any], words: list[str]) -> None:
    refused(ConfigError, words, product, **options)


x = torch.randn(3, 8)
LAST = {
    "x1": ((x[:, :7], x), ["x1", "7", "8", "2x0e+2x1o"]),
    "x2": ((x, torch.randn(3, 9)), ["x2", "9", "8", "2x0e+2x1o"]),
    "no dimension": ((x, x[0, 0]), ["x2", "8", "2x0e+2x1o"]),
    "of x1, but not of x2": ((torch.randn(8, 3), x), ["x1", "3", "8"]),
}


@both
@pytest.mark.parametrize(("given", "words"), LAST.values(), ids=LAST.keys())
def test_a_wrong_last_dimension_names_both_numbers_and_the_irreps(
    name: str, given: tuple[Tensor, Tensor], words: list[str]
) -> None:
    refused(InputError, words, product(name), *given)


def test_the_irreps_named_are_those_of_the_side() -> None:
    made = product("gaunt", "1o", "2x0e", "2x1o")
    refused(InputError, ["x1", "1x1o"], made, torch.randn(3, 2), torch.randn(3, 2))
    refused(InputError, ["x2", "2x0e"], made, torch.randn(3, 3), torch.randn(3, 3))


@both
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.int64, torch.complex64], ids=str)
def test_mixed_dtypes_are_refused_and_both_named(name: str, dtype: torch.dtype) -> None:
    made = product(name)
    refused(InputError, ["x1", str(dtype), "torch.float32"], made, x.to(dtype), x)
    refused(InputError, ["x2", str(dtype), "torch.float32"], made, x, x.to(dtype))
    refused(InputError, ["float32", "float64"], made.double(), x, x)


def test_autocast_is_no_excuse_for_integers() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        refused(InputError, ["x1", "torch.int64", "torch.float32"], product(), x.long(), x)


@both
def test_mixed_devices_are_refused_and_both_named(name: str) -> None:
    refused(InputError, ["x1", "meta", "cpu"], product(name), x.to("meta"), x)
    refused(InputError, ["x2", "meta", "cpu"], product(name), x, x.to("meta"))
    weighted = product(name, weights="external")
    w = torch.randn(3, weighted.weight_numel, device="meta")
    refused(InputError, ["weights", "meta", "cpu"], weighted, x, x, w)


@both
def test_weights_that_are_missing_too_many_or_of_another_size_are_refused(name: str) -> None:
    for option in ("none", "internal"):
        made = product(name, weights=option)
        refused(InputError, ["weights", option], made, x, x, torch.randn(3, 4))
    made = product(name, weights="external")
    n = made.weight_numel
    refused(InputError, ["weights", str(n), "external"], made, x, x)
    refused(InputError, ["weights", str(n), str(n - 1)], made, x, x, torch.randn(3, n - 1))
    refused(InputError, ["weights", "float64", "float32"], made, x, x, torch.randn(3, n).double())


@both
def test_leading_dimensions_that_do_not_broadcast_are_refused_and_both_named(name: str) -> None:
    refused(InputError, ["(3,", "(2,"], product(name), x, x[:2])
    weighted = product(name, weights="external")
    refused(InputError, ["(3,", "(5,"], weighted, x, x, torch.randn(5, weighted.weight_numel))
    refused(InputError, ["(2,", "(0,"], product(name), x[:2], x[:0])


@both
def test_an_error_leaves_the_product_as_it_was(name: str) -> None:
    made = product(name)
    expected = made(x, x)
    refused(InputError, [], made, x, x[:, :1])
    torch.testing.assert_close(made(x, x), expected, rtol=0, atol=0)
