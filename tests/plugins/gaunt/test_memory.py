"""Memory that a thread keeps between calls holds nothing that another call must not see."""

from __future__ import annotations

import threading

import pytest
import torch
from molgen_gaunt.memory import Reused, kept_memory
from torch._subclasses.fake_tensor import FakeTensorMode

import molgen
from molgen.errors import ConfigError

IRREPS = "2x0e + 2x1o + 2x2e"


def product():
    return molgen.build("tensor_product", "gaunt", irreps1=IRREPS, irreps2=IRREPS, irreps_out=IRREPS)


def test_fake_tensors_leave_nothing_behind():
    made = product()
    x, y = torch.randn(3, 18), torch.randn(3, 18)
    expected = made(x, y)
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        assert made(mode.from_tensor(x), mode.from_tensor(y)).shape == (3, 18)
    torch.testing.assert_close(made(x, y), expected, rtol=0, atol=0)


def test_inference_mode_and_other_threads_have_memory_of_their_own():
    x = torch.randn(3)
    mine = kept_memory(x)
    assert kept_memory(x) is mine
    with torch.inference_mode():
        assert kept_memory(x) is not mine
    others: list[Reused] = []
    thread = threading.Thread(target=lambda: others.append(kept_memory(x)))
    thread.start()
    thread.join()
    assert others[0] is not mine


def test_inputs_of_ever_new_sizes_do_not_fill_the_memory():
    memory = Reused(torch.float32, torch.device("cpu"))
    for rows in range(2000):
        place = memory("a", rows + 1, 3)
        memory.columns(place, 0, 2)
    assert len(memory.views) < 1100
    assert memory.blocks["a"].numel() == 6000


def test_a_product_comes_back_from_the_meta_device():
    made = product()
    x, y = torch.randn(3, 18), torch.randn(3, 18)
    expected = made(x, y)
    torch.testing.assert_close(made.to("meta").to_empty(device="cpu")(x, y), expected, rtol=0, atol=0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_refused_with_what_to_do(dtype):
    with pytest.raises(
        ConfigError, match=r"can't compute in torch\..*float16; expected float32 or float64; .*autocast"
    ):
        product().to(dtype)
