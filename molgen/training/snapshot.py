"""Everything with tensors that a run changes, gathered under names and put back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn
from torch.optim import Optimizer

from molgen.errors import TrainingError
from molgen.training.ema import MovingAverage

__all__ = ["gather", "put_back"]


def gather(
    model: nn.Module, average: MovingAverage, optimizers: Sequence[Optimizer], sums: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Model, moving average, optimisers and the log's sums by name."""
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    tensors |= {f"average.{name}": value for name, value in average.state().items()}
    for number, optimizer in enumerate(optimizers):
        for parameter, values in optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{number}.{parameter}.{key}": value for key, value in values.items()}
    return tensors | {f"sums.{name}": value for name, value in sums.items()}


def put_back(
    tensors: Mapping[str, Tensor],
    model: nn.Module,
    average: MovingAverage,
    updates: int,
    optimizers: Sequence[Optimizer],
) -> dict[str, Tensor]:
    """The inverse of `gather`; returns the sums. `updates` is how often the average was moved.

    Raises:
        TrainingError: the tensors are of another model or optimiser.
    """
    try:
        model.load_state_dict(_below(tensors, "model."))
        average.load(_below(tensors, "average."), updates)
        for number, optimizer in enumerate(optimizers):
            state: dict[int, dict[str, Tensor]] = {}
            for name, tensor in _below(tensors, f"optimizer.{number}.").items():
                parameter, key = name.split(".", 1)
                state.setdefault(int(parameter), {})[key] = tensor
            # the groups hold options, which come from the config
            optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    except (RuntimeError, KeyError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise TrainingError(
            f"the saved state doesn't fit the model: {reason}",
            remedy="resume with the plugins that it was made with",
        ) from error
    return _below(tensors, "sums.")


def _below(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
