import pytest
import torch

from molgen.errors import BrokenPluginError, RequestError
from molgen.generation.plan import PlannedBatch
from molgen.generation.sampling import sample_batch

BATCH = PlannedBatch(indices=(4, 0, 7), n_atoms=(3, 5, 5))


def draw(drawer, module, **options):
    return sample_batch(drawer, module, BATCH, n_steps=4, seed=3, device=torch.device("cpu"), **options)


def test_a_batch_keeps_its_indices_and_sizes(drawer, module):
    sampled = draw(drawer, module)
    assert sampled.indices == BATCH.indices
    assert sampled.structures.n_atoms.tolist() == list(BATCH.n_atoms)
    assert sampled.failures == (None, None, None)


def test_the_sampler_is_told_steps_seed_and_indices(drawer, module):
    draw(drawer, module)
    (request,) = drawer.seen
    assert (request.n_steps, request.seed, request.indices.tolist()) == (4, 3, [4, 0, 7])


def test_a_molecule_that_breaks_is_marked_with_its_step_and_spares_the_others(drawer, module):
    whole = draw(drawer, module)
    drawer.broken = {0}
    sampled = draw(drawer, module)
    assert sampled.failures == (None, "coordinates are not finite from step 2 on", None)
    assert torch.isfinite(sampled.structures.positions).all()
    for kept in (0, 2):
        assert torch.equal(sampled.structures.select([kept]).positions, whole.structures.select([kept]).positions)


def test_a_molecule_that_the_sampler_leaves_is_marked(drawer, module):
    drawer.unfinished = {7}
    assert draw(drawer, module).failures == (None, None, "left unfinished")


def test_every_state_is_shown(drawer, module):
    steps = []
    draw(drawer, module, on_state=lambda state: steps.append(state.step))
    assert steps == [0, 1, 2, 3, 4]


def test_sampling_builds_no_graph_for_gradients(drawer, module):
    enabled = []
    draw(drawer, module, on_state=lambda state: enabled.append(torch.is_grad_enabled()))
    assert not any(enabled)


def test_a_sampler_without_states_is_named(drawer, module, monkeypatch):
    monkeypatch.setattr(drawer, "sample", lambda *_: iter(()))
    with pytest.raises(BrokenPluginError, match="Drawer gave no state"):
        draw(drawer, module)


def test_a_sampler_that_loses_molecules_is_named(drawer, module, monkeypatch):
    states = list(type(drawer)().sample(module, *_short_request()))
    monkeypatch.setattr(drawer, "sample", lambda *_: iter(states))
    with pytest.raises(BrokenPluginError, match="gave 1 molecules at step 0; expected 3"):
        draw(drawer, module)


def test_a_device_without_memory_is_told_with_the_remedy(drawer, module, monkeypatch):
    def sample(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")
        yield

    monkeypatch.setattr(drawer, "sample", sample)
    with pytest.raises(RequestError, match=r"batch of 3 molecules of up to 5 atoms; choose a smaller batch size"):
        draw(drawer, module)


def _short_request():
    from molgen.interfaces import Request
    from molgen.random import Streams

    request = Request(n_atoms=torch.tensor([3]), n_steps=2, seed=0, indices=torch.tensor([0]))
    return request, Streams(0, [0])
