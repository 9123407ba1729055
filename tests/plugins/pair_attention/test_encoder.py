"""What pair attention costs, and what its options and its layout refuse or keep."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from molgen_pair_attention.layout import Rectangles
from torch.utils.flop_counter import FlopCounterMode

import molgen
from molgen.errors import ConfigError
from molgen.interfaces import Codec, Noisy, Process, Schema
from molgen.models.assembly import encoder_builder
from molgen.models.denoiser import Denoiser
from molgen.neighbors import complete_graph
from molgen.structures import Structures


def molecules(*counts: int) -> Structures:
    torch.manual_seed(0)
    n = sum(counts)
    return Structures.build(1.5 * torch.randn(n, 3), [6] * n, n_atoms=list(counts))


def test_an_evaluation_of_18_atoms_costs_less_than_an_eighth_of_a_gflop():
    process = Process("karras", 1.4, 0.01, 15.0, {"species": Codec("masked")})
    build = encoder_builder(SimpleNamespace(use="pair-attention", config={}))
    model = Denoiser(build, Schema((1, 6, 7, 8), {18: 1}), process, average_neighbors=17.0)
    noisy = Noisy(molecules(18), torch.zeros(18, dtype=torch.int64), torch.ones(1))
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(noisy)
    assert 0.05e9 < counter.get_total_flops() < 0.12e9


@pytest.mark.parametrize("counts", [(4, 4), (3, 5, 1), (0, 2)], ids=str)
def test_rectangles_give_back_what_was_laid_out(counts):
    graph = complete_graph(molecules(*counts))
    where = Rectangles(graph)
    nodes, edges = torch.randn(sum(counts), 2), torch.randn(len(graph.senders), 3)
    assert torch.equal(where.nodes(where.of_nodes(nodes)), nodes)
    pairs = where.of_edges(edges)
    assert pairs.shape == (len(counts), max(counts), max(counts), 3)
    assert torch.equal(where.edges(pairs), edges)
    assert int((pairs != 0).any(-1).sum()) == len(edges)
    # receiver first: the pair of atoms 0 and 1 of the last structure that has two
    last = max(b for b, n in enumerate(counts) if n > 1)
    start = sum(counts[:last])
    edge = ((graph.receivers == start) & (graph.senders == start + 1)).nonzero()[0, 0]
    assert torch.equal(pairs[last, 0, 1], edges[edge])


def test_channels_that_heads_can_not_share_are_refused():
    config = {"channels": 10, "heads": 4}
    with pytest.raises(ConfigError, match="multiple of heads"):
        molgen.build("encoder", "pair-attention", inputs=1, average_neighbors=1.0, config=config)
