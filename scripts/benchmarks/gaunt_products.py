"""The encoder `gaunt` at its real work with each way to compute its products: energy and forces, and a training step.

python scripts/benchmarks/gaunt_products.py                     # a CPU
python scripts/benchmarks/gaunt_products.py --device cuda       # with `fused`, and a batch of 64

Boxes of 192 atoms of water, float32, 5 Å, the network of MACE's size (32 channels, 0e + 1o, l_max 3, correlation 3). As
it comes, the product is taken after the sum over neighbours (`moments`); the other rows take it on every edge, by the
method named, which grid, separable and fourier take for the powers too, or by `clebsch-gordan`, which is e3nn's. All
rows of one product compute the same function.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from harness import Timing, ended, in_turn, machine, parser, publish
from harness.energy import EnergyModel, build_energy_model
from potentials.cases import CUTOFF, water

import molgen
from molgen.allocation import keep_freed_memory
from molgen.errors import ConfigError
from molgen.neighbors import Graph
from molgen.structures import concatenate

ELEMENTS = (1, 8)
BASE: Mapping[str, Any] = {"channels": 32, "l_max": 3, "l_hidden": 1, "layers": 2, "correlation": 3, "cutoff": CUTOFF}
_EDGES = ("grid", "direct", "separable", "fourier")


def variants(device: str) -> dict[str, dict[str, Any]]:
    """Options of the encoder by the name of a row; `fused` needs a GPU."""
    found: dict[str, dict[str, Any]] = {"after the sum": {}}
    for method in (*_EDGES, *(("fused",) if device == "cuda" else ())):
        product = {"use": "gaunt", "config": {"method": method, "weights": "internal"}}
        found[f"on edges, {method}"] = {"tensor_product": product, "aggregation": "edges"}
    found["clebsch-gordan, after the sum"] = {"tensor_product": "clebsch-gordan"}
    found["clebsch-gordan, on edges"] = {"tensor_product": "clebsch-gordan", "aggregation": "edges"}
    return found


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print and write."""
    options = parser("gaunt_products", __doc__, repeats=7, threads=1)
    options.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    options.add_argument("--batches", type=int, nargs="+", metavar="B", help="boxes at once (1; on a GPU 1 and 64)")
    options.add_argument("--molecules", type=int, default=64, help="of water in a box (default 64)")
    arguments = options.parse_args(argv)
    if arguments.device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("no CUDA device here", where="--device cuda", remedy="use --device cpu")
    batches = arguments.batches or ([1, 64] if arguments.device == "cuda" else [1])
    base = dict(BASE)
    if arguments.quick:
        base |= {"channels": 4, "l_max": 2, "layers": 1}
        arguments.molecules, arguments.repeats, batches = 4, 2, [1]
    keep_freed_memory()
    torch.set_num_threads(arguments.threads)
    shown, results = [], []
    for batch in batches:
        structures = concatenate([water(arguments.molecules)] * batch).to(arguments.device)
        for task in ("energy and forces", "training step"):
            cases = _cases(base, arguments.device, structures, task)
            in_turn(cases, 2)  # warms up
            timings = in_turn(cases, arguments.repeats)
            own = timings["after the sum"].median
            shown += [_row(name, batch, task, timing, own) for name, timing in timings.items()]
            results += [
                {"variant": name, "batch": batch, "task": task, **timing.as_dict()} for name, timing in timings.items()
            ]
    publish(
        "gaunt_products",
        f"encoder gaunt, {3 * arguments.molecules} atoms of water, {arguments.device}, float32; median (min–max)",
        shown,
        settings=base | {"device": arguments.device, "molecules": arguments.molecules},
        results=results,
        where=machine(),
        path=arguments.json,
        quick=arguments.quick,
    )


def _cases(
    base: Mapping[str, Any], device: str, structures: molgen.Structures, task: str
) -> dict[str, Callable[[], None]]:
    made = {}
    for name, options in variants(device).items():
        torch.manual_seed(0)
        model = build_energy_model("gaunt", {**base, **options}, elements=ELEMENTS, average_neighbors=50.0).to(device)
        graph = model.graph(structures)
        made[name] = (_forces if task == "energy and forces" else _training)(model, structures, graph)
    return made


def _forces(model: EnergyModel, structures: molgen.Structures, graph: Graph) -> Callable[[], None]:
    model.eval().requires_grad_(False)

    def run() -> None:
        model.energy_and_forces(structures, graph)
        _finished(structures)

    return run


def _training(model: EnergyModel, structures: molgen.Structures, graph: Graph) -> Callable[[], None]:
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)

    def run() -> None:
        optimizer.zero_grad()
        energies, forces = model.energy_and_forces(structures, graph, create_graph=True)
        (energies.square().mean() + forces.square().mean()).backward()
        optimizer.step()
        _finished(structures)

    return run


def _finished(structures: molgen.Structures) -> None:
    if structures.positions.device.type == "cuda":
        torch.cuda.synchronize()


def _row(name: str, batch: int, task: str, timing: Timing, own: float) -> dict[str, object]:
    return {
        "product": name,
        "boxes": batch,
        "task": task,
        "ms": timing.text(1e3, 1),
        "× after the sum": f"{timing.median / own:.2f}",
    }


if __name__ == "__main__":
    raise SystemExit(ended(main))
