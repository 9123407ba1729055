"""Optimisers by name, and which parameters they treat how."""

from __future__ import annotations

import torch
from torch import nn
from torch.optim import Optimizer

from molgen.errors import ConfigError
from molgen.training.config import TrainingSection
from molgen.training.muon import StackedMuon

__all__ = ["build_optimizers", "check_optimizer"]

# narrower matrices are read-outs and embeddings of a few numbers, where an orthogonal step is no good one
_MUON_SMALLEST = 16


def build_optimizers(model: nn.Module, section: TrainingSection) -> list[Optimizer]:
    """The optimisers of all parameters of a model; every group keeps its full rate as `base_lr`.

    `adamw` (Loshchilov & Hutter 2019): weights decay; biases, norms, scales and embeddings do not. `muon` (Jordan
    2024): orthogonalised momentum for matrices and stacks of matrices, AdamW for the rest.

    Raises:
        ConfigError: `muon` with a torch that has none.
    """
    check_optimizer(section)
    decayed, plain, hidden = _sort(model, muon=section.optimizer == "muon")
    groups = [
        {"params": decayed, "weight_decay": section.weight_decay},
        {"params": plain, "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    optimizers: list[Optimizer] = []
    if groups:
        lr, betas, epsilon = section.learning_rate, section.betas, section.epsilon
        fused = all(parameter.device.type in ("cpu", "cuda") for parameter in (*decayed, *plain))
        optimizers.append(
            torch.optim.AdamW(groups, lr=lr, betas=betas, eps=epsilon, amsgrad=section.amsgrad, fused=fused)
        )
    if hidden:
        optimizers.append(_muon(hidden, section))
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["base_lr"] = group["lr"]
    return optimizers


def check_optimizer(section: TrainingSection) -> None:
    """Refuse an optimiser that this torch doesn't have.

    Raises:
        ConfigError: `muon` with a torch that has none.
    """
    if section.optimizer == "muon" and not hasattr(torch.optim, "Muon"):
        raise ConfigError(
            f"torch {torch.__version__} has no Muon",
            where="training.optimizer",
            expected="torch 2.9 or later",
            remedy="choose adamw",
        )


def _muon(parameters: list[nn.Parameter], section: TrainingSection) -> Optimizer:
    # with this adjustment AdamW's learning rate and weight decay serve Muon too (Liu et al. 2025, section 2.2)
    return StackedMuon(
        parameters,
        lr=section.learning_rate,
        weight_decay=section.weight_decay,
        momentum=section.momentum,
        adjust_lr_fn="match_rms_adamw",
    )


def _sort(model: nn.Module, *, muon: bool) -> tuple[list[nn.Parameter], list[nn.Parameter], list[nn.Parameter]]:
    """Parameters that decay, that don't, and that Muon takes."""
    embeddings = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    decayed, plain, hidden = [], [], []
    for parameter in model.parameters():
        if not parameter.requires_grad:
            continue
        matrices = parameter.ndim in (2, 3) and min(parameter.shape[-2:]) >= _MUON_SMALLEST
        if muon and matrices and id(parameter) not in embeddings:
            hidden.append(parameter)
        elif parameter.ndim < 2 or id(parameter) in embeddings:
            plain.append(parameter)
        else:
            decayed.append(parameter)
    return decayed, plain, hidden
