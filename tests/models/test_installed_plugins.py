"""Every installed encoder in every installed sampler: assembled, written, restored, and the same to the bit."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from molgen.errors import ConfigError
from molgen.host.registry import registry
from molgen.interfaces import Schema
from molgen.models.assembly import assemble_generator
from molgen.models.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from molgen.models.restoration import restore
from molgen.random import Streams
from molgen.structures import Structures

SCHEMA = Schema(elements=(1, 6, 8), size_counts={3: 5, 4: 1})
STATISTICS = {"sigma_data": 1.3, "average_neighbors": 2.0}
PAIRS = [(e.id, s.id) for e in registry().components("encoder") for s in registry().components("sampler")]


@pytest.mark.parametrize(("encoder", "sampler"), PAIRS)
def test_a_restored_generator_has_the_loss_of_the_one_that_was_written(
    encoder: str, sampler: str, tmp_path: Path
) -> None:
    try:
        made = assemble_generator(encoder, sampler, SCHEMA, STATISTICS)
    except ConfigError as error:
        pytest.skip(f"they don't fit each other with their default options: {error}")
    document = made.document("pair", SCHEMA, STATISTICS)
    write_checkpoint(tmp_path / "pair.safetensors", Checkpoint(document, made.module.state_dict()))
    loaded = restore(read_checkpoint(tmp_path / "pair.safetensors"))
    batch = Structures.build(torch.randn(7, 3), [8, 1, 1, 6, 1, 1, 8], n_atoms=[3, 4])
    made.module.eval()
    before = made.sampler.objective(made.module, batch, Streams(0, [0, 1]))
    after = loaded.sampler.objective(loaded.module, batch, Streams(0, [0, 1]))
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert bool(torch.isfinite(after["loss"]).all())


@pytest.mark.skipif(not any(e == "molgen-egnn:egnn" for e, _ in PAIRS), reason="molgen-egnn is not installed")
def test_an_encoder_with_a_cutoff_is_refused_in_a_generator_with_the_key() -> None:
    encoder = SimpleNamespace(use="egnn", config={"cutoff": 5.0})
    with pytest.raises(ConfigError, match=r"encoder\.config\.cutoff"):
        assemble_generator(encoder, PAIRS[0][1], SCHEMA, STATISTICS)
