"""EGNN, forward and backward on complete graphs, beside the authors' formulation.

python scripts/benchmarks/egnn.py

The peer is written after the public code of Satorras et al. 2021 (arXiv:2102.09844): [h_i, h_j, d², a_ij] of every edge
concatenated into one tensor [E, 2C + 1 + K], an edge MLP on it, a coordinate MLP, and index_add for the sums. It stands
here twice: as published, and without the hidden layer of the coordinate MLP, which ours does not have, so that what is
left of the difference is the way of computing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from harness import Timing, ended, in_turn, machine, parser, publish, saved_bytes
from torch import Tensor, nn

import molgen
from molgen.allocation import keep_freed_memory
from molgen.neighbors import Graph, complete_graph

INPUTS, EDGE_INPUTS = 22, 32  # scalars per node and edge, as the generator of QM9 feeds them


class AuthorsLayer(nn.Module):
    """Equations 3 to 8 as the authors' code computes them."""

    def __init__(self, channels: int, edge_inputs: int, coordinates: nn.Module) -> None:
        super().__init__()
        c = channels
        self.edge = nn.Sequential(nn.Linear(2 * c + 1 + edge_inputs, c), nn.SiLU(), nn.Linear(c, c), nn.SiLU())
        self.attention = nn.Sequential(nn.Linear(c, 1), nn.Sigmoid())
        self.coordinates = coordinates
        self.node = nn.Sequential(nn.Linear(2 * c, c), nn.SiLU(), nn.Linear(c, c))

    def forward(self, h: Tensor, x: Tensor, row: Tensor, col: Tensor, edge_scalars: Tensor) -> tuple[Tensor, Tensor]:
        """Features [N, C] and positions [N, 3] after the layer; edges go from `col` to `row`, each [E]."""
        difference = x[row] - x[col]
        radial = difference.square().sum(1, keepdim=True)
        difference = difference / (torch.sqrt(radial + 1e-8) + 1)
        m = self.edge(torch.cat((h[row], h[col], radial, edge_scalars), dim=1))  # [E, C]
        m = m * self.attention(m)
        x = x + torch.zeros_like(x).index_add(0, row, difference * self.coordinates(m)) / 17.0
        total = torch.zeros_like(h).index_add(0, row, m)
        return h + self.node(torch.cat((h, total), dim=1)), x


class Authors(nn.Module):
    """The authors' network; `hidden` chooses the published coordinate MLP, or one linear map."""

    def __init__(self, channels: int, layers: int, *, hidden: bool) -> None:
        super().__init__()
        self.embed = nn.Linear(INPUTS, channels)
        self.layers = nn.ModuleList(
            AuthorsLayer(channels, EDGE_INPUTS, _coordinates(channels, hidden)) for _ in range(layers)
        )

    def forward(self, graph: Graph, positions: Tensor, node_scalars: Tensor, edge_scalars: Tensor) -> Tensor:
        """[N, C + 3] features and displacement."""
        h, x = self.embed(node_scalars), positions
        for layer in self.layers:
            h, x = layer(h, x, graph.receivers, graph.senders, edge_scalars)
        return torch.cat((h, x - positions), dim=1)


def _coordinates(channels: int, hidden: bool) -> nn.Module:
    last = nn.Linear(channels, 1, bias=False)
    nn.init.xavier_uniform_(last.weight, gain=0.001)
    return nn.Sequential(nn.Linear(channels, channels), nn.SiLU(), last) if hidden else last


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print and write."""
    options = parser("egnn", __doc__, repeats=15)
    options.add_argument("--atoms", type=int, default=18)
    options.add_argument("--batch-size", type=int, default=64)
    options.add_argument("--channels", type=int, default=128)
    options.add_argument("--layers", type=int, default=6)
    options.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    arguments = options.parse_args(argv)
    if arguments.quick:
        arguments.batch_size, arguments.channels, arguments.layers, arguments.repeats = 2, 8, 2, 2
    keep_freed_memory()
    where = machine()
    torch.manual_seed(0)
    n, b, c, layers = arguments.atoms, arguments.batch_size, arguments.channels, arguments.layers
    structures = molgen.Structures.build(1.4 * torch.randn(n * b, 3), torch.ones(n * b, dtype=torch.long), [n] * b)
    node_scalars = torch.randn(n * b, INPUTS)
    edge_scalars = torch.randn(n * b * (n - 1), EDGE_INPUTS)
    ours = molgen.build(
        "encoder",
        "egnn",
        inputs=INPUTS,
        edge_inputs=EDGE_INPUTS,
        average_neighbors=n - 1.0,
        config={"channels": c, "layers": layers},
    )
    published, leaner = Authors(c, layers, hidden=True), Authors(c, layers, hidden=False)
    graph = complete_graph(structures)  # once, for all: no network pays for it

    forwards: dict[str, Callable[[], Tensor]] = {
        "molgen": lambda: ours(graph, node_scalars, edge_scalars).nodes.sum(),
        "authors' code": lambda: published(graph, structures.positions, node_scalars, edge_scalars).sum(),
        "authors' without hidden layer": lambda: leaner(graph, structures.positions, node_scalars, edge_scalars).sum(),
    }
    networks = {"molgen": ours, "authors' code": published, "authors' without hidden layer": leaner}

    def both_ways(name: str) -> Callable[[], None]:
        def run() -> None:
            networks[name].zero_grad()
            forwards[name]().backward()

        return run

    cases = {name: both_ways(name) for name in networks}
    inputs = [node_scalars, edge_scalars, structures.positions, graph.vectors, graph.lengths, graph.cell_shifts]
    inputs += [graph.senders, graph.receivers, graph.reverse]
    saved = {name: saved_bytes(forwards[name], [*inputs, *networks[name].parameters()]) for name in networks}
    shown, results = [], []
    before = torch.get_num_threads()
    for threads in arguments.threads:
        torch.set_num_threads(threads)
        in_turn(cases, 1)  # warms up
        timings = in_turn(cases, arguments.repeats)
        for name, timing in timings.items():
            row = _result(name, threads, timing, timings["molgen"], saved[name], networks[name])
            results.append(row)
            shown.append(
                {
                    "network": name,
                    "threads": threads,
                    "ms": timing.text(1e3, 1),
                    "× molgen": f"{row['ratio']:.2f}",
                    "molecules/s": timing.rate_text(b, 0),
                    "MB saved for backward": f"{saved[name] / 1e6:.1f}",
                    "parameters": row["parameters"],
                }
            )
    torch.set_num_threads(before)
    settings = {"atoms": n, "batch_size": b, "channels": c, "layers": layers, "dtype": "float32"}
    title = f"forward and backward, {layers} × {c}, {b} complete graphs of {n} atoms, float32; median (min–max)"
    where = where | {"threads": " and ".join(map(str, arguments.threads))}
    publish(
        "egnn",
        title,
        shown,
        settings=settings,
        results=results,
        where=where,
        path=arguments.json,
        quick=arguments.quick,
    )


def _result(name: str, threads: int, timing: Timing, ours: Timing, saved: int, network: nn.Module) -> dict[str, object]:
    return {
        "network": name,
        "threads": threads,
        **timing.as_dict(),
        "ratio": timing.median / ours.median,
        "saved_bytes": saved,
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
    }


if __name__ == "__main__":
    raise SystemExit(ended(main))
