"""One planned batch, from noise to structures, with a mark on what went wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from molgen.errors import BrokenPluginError, RequestError
from molgen.generation.control import Controls
from molgen.generation.plan import PlannedBatch
from molgen.interfaces import Request, Sampler, State
from molgen.random import Streams
from molgen.structures import Structures

__all__ = ["Sampled", "finite_structures", "sample_batch"]

_NO_CONTROLS = Controls()


@dataclass(frozen=True, eq=False)
class Sampled:
    """The outcome of one planned batch of B molecules."""

    indices: tuple[int, ...]  # B, number of each molecule in the whole run
    structures: Structures  # B, on the CPU; coordinates that were not finite are zero
    failures: tuple[str | None, ...]  # B, why a molecule is no result, or None


def sample_batch(
    sampler: Sampler,
    module: nn.Module,
    batch: PlannedBatch,
    *,
    n_steps: int,
    seed: int,
    device: torch.device,
    mixed: bool = False,
    controls: Controls = _NO_CONTROLS,
    on_state: Callable[[State], None] | None = None,
) -> Sampled:
    """Draw the molecules of a planned batch.

    A molecule whose coordinates stop being finite does not stop the others: it is marked with the step.

    Args:
        sampler: draws from `module`.
        module: on `device`, in evaluation mode.
        batch: which molecules.
        n_steps: steps of the sampler.
        seed: of the whole run.
        device: where to sample.
        mixed: run matrix products in bfloat16.
        controls: what is fixed of the molecules.
        on_state: called with every state; progress and trajectories listen here.

    Raises:
        BrokenPluginError: the sampler does not keep its contract.
        RequestError: the batch does not fit into the device's memory.
    """
    request = Request(
        n_atoms=torch.tensor(batch.n_atoms, device=device),
        n_steps=n_steps,
        seed=seed,
        indices=torch.tensor(batch.indices, device=device),
        options=controls.options,
    )
    state: State | None = None
    # [B] the first step with a number that is not finite; read once, at the end, so that no step waits for the device
    broken_at = torch.full((len(batch.indices),), -1, device=device)
    products = torch.autocast(device.type, dtype=torch.bfloat16, enabled=mixed)
    with torch.no_grad(), products, _telling_of_memory(batch, device):
        streams = Streams(seed, request.indices, device)
        module = controls.on(module, request.n_atoms, streams)
        for state in sampler.sample(module, request, streams):
            _check_state(state, sampler, len(batch.indices))
            broken = ~finite_structures(state.structures) & (broken_at < 0)
            broken_at = torch.where(broken, state.step, broken_at)
            if on_state is not None:
                on_state(state)
    if state is None:
        raise BrokenPluginError(
            f"the sampler {type(sampler).__name__} gave no state", remedy="report it to its authors"
        )
    failures = tuple(
        f"coordinates are not finite from step {step} on" if step >= 0 else None if finished else "left unfinished"
        for step, finished in zip(broken_at.tolist(), state.finished.tolist(), strict=True)
    )
    structures = state.structures.replace(positions=torch.nan_to_num(state.structures.positions, 0.0, 0.0, 0.0))
    return Sampled(batch.indices, structures.to("cpu"), failures)


def finite_structures(structures: Structures) -> Tensor:
    """[B] bool: all coordinates of the structure are finite."""
    wrong = (~torch.isfinite(structures.positions).all(dim=1)).long()  # [N]
    return torch.zeros_like(structures.n_atoms).index_add_(0, structures.batch, wrong) == 0


@contextmanager
def _telling_of_memory(batch: PlannedBatch, device: torch.device) -> Iterator[None]:
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise RequestError(
            f"the memory of {device} does not hold a batch of {len(batch.indices)} molecules "
            f"of up to {max(batch.n_atoms)} atoms",
            remedy="choose a smaller batch size",
        ) from error


def _check_state(state: State, sampler: Sampler, expected: int) -> None:
    if state.structures.n_structures != expected:
        raise BrokenPluginError(
            f"the sampler {type(sampler).__name__} gave {state.structures.n_structures} molecules at step {state.step}",
            expected=str(expected),
            remedy="report it to its authors",
        )
