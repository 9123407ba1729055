"""The encoders escn and scn: how far from equivariant they are, how far scn jumps at its pole, and what they cost.

python scripts/benchmarks/spherical_channels.py

All encoders are at initialisation, with weights of the same seeds; energies are a linear read-out of their scalars.

- features off by: root mean square of f(R x) − R f(x) over random rotations R and seeds, relative to that of f(x).
- energies off by: root mean square of E(R x) − E(x), relative to the standard deviation of E over random molecules.
- jump at the pole: a bond comes to the direction −y, at 1e-10 rad, from sides all around; the largest energy minus the
  smallest, in the same unit.
- ms: energy and forces of a molecule of 27 atoms, float32; for the rows of several degrees, of a periodic box.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import torch
from harness import Timing, ended, in_turn, machine, parser, publish
from torch import Tensor

import molgen
from molgen.allocation import keep_freed_memory
from molgen.interfaces import Encoder
from molgen.neighbors import Graph, radius_graph
from molgen.nn import WignerD

INPUTS: Final = 4
CUTOFF: Final = 5.0  # Å
_L_MAX: Final = 2  # of the errors
TAPS: Final = (1, 2, 4, 8, 16)
_DENSITY: Final = 0.1  # atoms/Å³, that of water
_NEAREST: Final = 0.9  # Å
_TILT: Final = 1e-10  # rad
_SIDES: Final = 24


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print and write."""
    options = parser("spherical_channels", __doc__, repeats=9, threads=1)
    options.add_argument("--channels", type=int, default=32)
    options.add_argument("--layers", type=int, default=2)
    options.add_argument("--seeds", type=int, default=4, help="of weights and molecules, for the errors (default 4)")
    options.add_argument("--atoms", type=int, default=192, help="of the periodic box (default 192)")
    arguments = options.parse_args(argv)
    degrees: tuple[int, ...] = (1, 2, 3, 4, 6, 8)
    if arguments.quick:
        arguments.channels, arguments.seeds, arguments.atoms, arguments.repeats, degrees = 4, 1, 12, 2, (1, 2, 4)
    keep_freed_memory()
    before = torch.get_num_threads()
    torch.set_num_threads(arguments.threads)
    where = machine() | {"threads": arguments.threads}
    sizes = {
        "channels": arguments.channels,
        "hidden_channels": arguments.channels,
        "layers": arguments.layers,
        "l_max": _L_MAX,
    }
    try:
        results = _accuracy(sizes, arguments.seeds, arguments.repeats)
        growth = _growth(sizes, degrees, arguments.atoms, arguments.repeats)
    finally:
        torch.set_num_threads(before)
    title = (
        f"errors at initialisation (float64); energy and forces of 27 atoms and, at m_max 1, of {arguments.atoms} in a "
        f"box (float32); {arguments.layers} layers × {arguments.channels} channels, cutoff {CUTOFF:g} Å"
    )
    publish(
        "spherical_channels",
        title,
        [row["shown"] for row in results + growth],
        settings=sizes | {"seeds": arguments.seeds, "atoms": arguments.atoms, "cutoff": CUTOFF},
        results=[{key: value for key, value in row.items() if key != "shown"} for row in results + growth],
        where=where,
        path=arguments.json,
        quick=arguments.quick,
    )


def _accuracy(sizes: Mapping[str, int], seeds: int, repeats: int) -> list[dict[str, Any]]:
    """Rows of errors and costs."""
    cases: list[tuple[str, dict[str, Any]]] = [("escn", {}), ("escn", {"reflections": False})]
    cases += [("scn", {"taps": taps, "grid_degree": 28}) for taps in TAPS]
    cases += [("scn", {"taps": 16, "grid_degree": degree}) for degree in (4, 8, 12, 20)]
    cases += [("scn", {"taps": taps, "grid_degree": 12, "m_max": 1}) for taps in (2, 4)]
    molecule = _cluster(27, 0)
    timings = _timed([(use, {**sizes, **config}, molecule) for use, config in cases], repeats)
    rows = []
    for (use, config), timing in zip(cases, timings, strict=True):
        measured = [_errors(use, {**sizes, **config}, seed) for seed in range(seeds)]
        features, energies, jump = (_quadratic_mean(column) for column in zip(*measured, strict=True))
        shown = {
            "encoder": use + ("" if config.get("reflections", True) else ", reflections: false"),
            "l_max": sizes["l_max"],
            "m_max": config.get("m_max", sizes["l_max"]),
            "taps": config.get("taps", ""),
            "grid_degree": config.get("grid_degree", ""),
            "features off by": f"{features:.0e}",
            "energies off by": f"{energies:.0e}",
            "jump at the pole": f"{jump:.0e}",
            "ms": timing.text(1e3, 1),
        }
        found = {"features": features, "energies": energies, "jump": jump}
        rows.append({"encoder": use, "options": config, **found, **timing.as_dict(), "shown": shown})
    return rows


def _growth(sizes: Mapping[str, int], degrees: Sequence[int], atoms: int, repeats: int) -> list[dict[str, Any]]:
    """Costs of escn at m_max 1, and between one degree and the next the exponent of their growth with l_max."""
    box = _box(atoms)
    timings = _timed([("escn", {**sizes, "l_max": degree, "m_max": 1}, box) for degree in degrees], repeats)
    rows: list[dict[str, Any]] = []
    for place, (degree, timing) in enumerate(zip(degrees, timings, strict=True)):
        shown = {"encoder": "escn, box", "l_max": degree, "m_max": 1, "ms": timing.text(1e3, 1)}
        row = {"encoder": "escn", "options": {"l_max": degree, "m_max": 1}, **timing.as_dict(), "shown": shown}
        if place:
            ratio = timing.median / timings[place - 1].median
            row["exponent"] = math.log(ratio) / math.log(degree / degrees[place - 1])
            shown["exponent"] = f"{row['exponent']:.1f}"
        rows.append(row)
    return rows


def _timed(cases: Sequence[tuple[str, Mapping[str, Any], molgen.Structures]], repeats: int) -> list[Timing]:
    """Energy and forces of each encoder and structure; the list of neighbours is there already."""
    runs: dict[int, Callable[[], Tensor]] = {}
    for place, (use, config, structures) in enumerate(cases):
        graph = radius_graph(structures, CUTOFF)
        encoder = _encoder(use, config, len(graph.senders) / len(structures.species))
        runs[place] = _forces_of(encoder, structures, graph)
    in_turn(runs, 1)  # warms up
    return list(in_turn(runs, repeats).values())


def _forces_of(encoder: Encoder, structures: molgen.Structures, graph: Graph) -> Callable[[], Tensor]:
    scalars, read = _scalars(structures), _read_out(encoder)

    def run() -> Tensor:
        positions = structures.positions.clone().requires_grad_()
        moved = graph.with_positions(structures.replace(positions=positions))
        energy = (encoder(moved, scalars).nodes[:, : len(read)] @ read.float()).sum()
        return torch.autograd.grad(energy, positions)[0]

    return run


def _errors(use: str, config: Mapping[str, Any], seed: int) -> tuple[float, float, float]:
    """How far features and energies are from equivariant, and the jump at the pole."""
    encoder = _encoder(use, config, 15.0, seed).double()
    clusters = [_cluster(12, 100 * seed + number, torch.float64) for number in range(6)]
    energies = torch.stack([_evaluate(encoder, cluster)[1] for cluster in clusters])
    molecule = clusters[0]
    features, energy = _evaluate(encoder, molecule)
    off, changed = [], []
    for number in range(6):
        rotation = _rotation(1000 * seed + number)
        turned, other = _evaluate(encoder, molecule.replace(positions=molecule.positions @ rotation.T))
        off.append(turned - features @ _of_irreps(encoder, rotation).T)
        changed.append(other - energy)
    around = torch.stack([_evaluate(encoder, _towards_the_pole(molecule, side / _SIDES))[1] for side in range(_SIDES)])
    unit = float(energies.std())
    return (
        float(torch.stack(off).square().mean().sqrt() / features.square().mean().sqrt()),
        float(torch.stack(changed).square().mean().sqrt()) / unit,
        float(around.max() - around.min()) / unit,
    )


def _encoder(use: str, config: Mapping[str, Any], average_neighbors: float, seed: int = 0) -> Encoder:
    torch.manual_seed(seed)
    options = {**config, "cutoff": CUTOFF}
    built: Encoder = molgen.build("encoder", use, inputs=INPUTS, average_neighbors=average_neighbors, config=options)
    return built


def _evaluate(encoder: Encoder, structures: molgen.Structures) -> tuple[Tensor, Tensor]:
    """Features [N, dim] and the energy."""
    with torch.no_grad():
        features = encoder(radius_graph(structures, CUTOFF), _scalars(structures)).nodes
    read = _read_out(encoder)
    return features, (features[:, : len(read)] @ read).sum()


def _read_out(encoder: Encoder) -> Tensor:
    """[C] weights of the scalars, the same for every encoder."""
    channels = encoder.irreps_out[0].mul
    weights = torch.randn(channels, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return weights / math.sqrt(channels)


def _scalars(structures: molgen.Structures) -> Tensor:
    """[N, INPUTS] which of four elements."""
    return torch.nn.functional.one_hot(structures.species - 5, INPUTS).to(structures.positions.dtype)


def _cluster(atoms: int, seed: int, dtype: torch.dtype = torch.float32) -> molgen.Structures:
    """Atoms at random in a ball, as dense as water, none too near to another."""
    generator = torch.Generator().manual_seed(seed)
    radius = (atoms / _DENSITY * 3 / (4 * math.pi)) ** (1 / 3)

    def draw() -> Tensor:
        while True:
            point = radius * (2 * torch.rand(3, generator=generator, dtype=torch.float64) - 1)
            if point.norm() < radius:
                return point

    return molgen.Structures.build(_apart(atoms, draw).to(dtype), _species(atoms))


def _box(atoms: int) -> molgen.Structures:
    """A periodic cube of the same density."""
    generator = torch.Generator().manual_seed(0)
    length = (atoms / _DENSITY) ** (1 / 3)
    points = _apart(atoms, lambda: length * torch.rand(3, generator=generator, dtype=torch.float64)).float()
    return molgen.Structures.build(points, _species(atoms), cell=length * torch.eye(3)[None], pbc=[[True] * 3])


def _apart(atoms: int, draw: Callable[[], Tensor]) -> Tensor:
    points = draw()[None]
    while len(points) < atoms:
        point = draw()[None]
        if torch.cdist(point, points).min() > _NEAREST:
            points = torch.cat((points, point))
    return points


def _species(atoms: int) -> list[int]:
    return [5 + number % INPUTS for number in range(atoms)]


def _towards_the_pole(molecule: molgen.Structures, side: float) -> molgen.Structures:
    """The molecule with its first bond along −y but for a tilt towards one side, a fraction of the circle."""
    angle = 2 * math.pi * side
    direction = torch.tensor([_TILT * math.cos(angle), -1.0, _TILT * math.sin(angle)], dtype=torch.float64)
    positions = molecule.positions.clone()
    positions[1] = positions[0] + 1.1 * direction
    return molecule.replace(positions=positions)


def _rotation(seed: int) -> Tensor:
    drawn = torch.randn(3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    q, r = torch.linalg.qr(drawn)
    q = q * torch.sign(torch.diagonal(r))
    return q * torch.det(q)


def _of_irreps(encoder: Encoder, rotation: Tensor) -> Tensor:
    """[dim, dim] what the rotation does to the encoder's features."""
    blocks = WignerD(encoder.irreps_out.lmax)(rotation)
    return torch.block_diag(*(blocks[ir.l] for mul, ir in encoder.irreps_out for _ in range(mul)))


def _quadratic_mean(values: Sequence[float]) -> float:
    return math.sqrt(sum(value * value for value in values) / len(values))


if __name__ == "__main__":
    raise SystemExit(ended(main))
