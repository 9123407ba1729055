"""Which parameters are treated how, and what the moving average keeps."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from molgen.errors import ConfigError
from molgen.training.config import TrainingSection
from molgen.training.ema import MovingAverage
from molgen.training.muon import StackedMuon
from molgen.training.optimizers import build_optimizers

HAS_MUON = hasattr(torch.optim, "Muon")


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(5, 16)
        self.linear = nn.Linear(16, 16)
        self.out = nn.Linear(16, 1)
        self.stack = nn.Parameter(torch.ones(3, 16, 20))
        self.norm = nn.LayerNorm(16)
        self.scale = nn.Parameter(torch.ones(()))
        self.frozen = nn.Parameter(torch.ones(2, 2), requires_grad=False)
        self.register_buffer("count", torch.tensor(3))


def decays(model: nn.Module, **options: object) -> dict[str, tuple[str, float]]:
    """Optimiser and weight decay of each parameter by name."""
    names = {parameter.data_ptr(): name for name, parameter in model.named_parameters()}
    section = TrainingSection(steps=1, weight_decay=0.1, **options)
    return {
        names[parameter.data_ptr()]: (type(optimizer).__name__, group["weight_decay"])
        for optimizer in build_optimizers(model, section)
        for group in optimizer.param_groups
        for parameter in group["params"]
        if parameter.data_ptr() in names  # the later matrices of a stack begin inside it
    }


def test_weights_decay_and_biases_norms_scales_and_embeddings_do_not():
    assert decays(Model()) == {
        "embedding.weight": ("AdamW", 0.0),
        "linear.weight": ("AdamW", 0.1),
        "linear.bias": ("AdamW", 0.0),
        "out.weight": ("AdamW", 0.1),
        "out.bias": ("AdamW", 0.0),
        "stack": ("AdamW", 0.1),
        "norm.weight": ("AdamW", 0.0),
        "norm.bias": ("AdamW", 0.0),
        "scale": ("AdamW", 0.0),
    }


@pytest.mark.skipif(not HAS_MUON, reason="this torch has no Muon")
def test_muon_takes_the_square_enough_matrices_and_stacks_of_them_and_adamw_the_rest():
    found = decays(Model(), optimizer="muon")
    assert {name for name, (optimizer, _) in found.items() if optimizer == "StackedMuon"} == {"linear.weight", "stack"}
    assert set(found) == set(decays(Model()))


@pytest.mark.skipif(not HAS_MUON, reason="this torch has no Muon")
def test_each_matrix_of_a_stack_moves_as_if_it_stood_alone():
    torch.manual_seed(0)
    stack = nn.Parameter(torch.randn(3, 16, 20))
    alone = [nn.Parameter(each.clone()) for each in stack.detach()]
    options = {"lr": 0.1, "weight_decay": 0.01, "momentum": 0.9, "adjust_lr_fn": "match_rms_adamw"}
    stacked, single = StackedMuon([stack], **options), torch.optim.Muon(alone, **options)
    for _ in range(4):
        gradient = torch.randn(3, 16, 20)
        stack.grad = gradient
        for parameter, own in zip(alone, gradient, strict=True):
            parameter.grad = own.clone()
        stacked.step()
        single.step()
    assert torch.equal(stack.detach(), torch.stack([each.detach() for each in alone]))
    stack.grad = None
    before = stack.detach().clone()
    stacked.step()
    assert torch.equal(stack.detach(), before)


def test_muon_is_refused_where_torch_has_none(monkeypatch):
    monkeypatch.delattr(torch.optim, "Muon", raising=False)
    with pytest.raises(ConfigError, match=r"no Muon \(training.optimizer\); expected torch 2.9 or later; choose adamw"):
        build_optimizers(Model(), TrainingSection(steps=1, optimizer="muon"))


@torch.no_grad()
def test_the_moving_average_is_the_recursion_with_its_warm_up():
    model = nn.Linear(2, 2)
    average = MovingAverage(model, decay=0.5)
    expected = model.weight.clone().double()
    for step in range(20):
        model.weight += 1.0
        average.update()
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * model.weight.double()
    assert torch.allclose(average.weights()["weight"].double(), expected, rtol=1e-6)


@torch.no_grad()
def test_the_model_gets_its_own_weights_back_to_the_bit():
    model = Model()
    average = MovingAverage(model, decay=0.9)
    for parameter in model.parameters():
        parameter += torch.randn(parameter.shape)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(RuntimeError, match="on purpose"), average.applied():
        assert not torch.equal(model.linear.weight, before["linear.weight"])
        raise RuntimeError("on purpose")
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_averaged_weights_have_every_name_of_the_model_even_of_shared_ones():
    model = Model()
    model.tied = model.linear
    average = MovingAverage(model, decay=0.9)
    with torch.no_grad():
        model.linear.weight += 1.0
    average.update()
    weights = average.weights()
    assert weights.keys() == model.state_dict().keys()
    assert torch.equal(weights["tied.weight"], weights["linear.weight"])
    assert weights["count"] == 3


def test_weights_in_half_precision_are_averaged_in_single():
    model = nn.Linear(2, 2).to(torch.bfloat16)
    average = MovingAverage(model, decay=0.999)
    assert {value.dtype for value in average.state().values()} == {torch.float32}
    assert {value.dtype for value in average.weights().values()} == {torch.bfloat16}
