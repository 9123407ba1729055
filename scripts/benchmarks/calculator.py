"""What the ASE calculator costs beyond its model, how wide its neighbour list should be, and what batches gain.

python scripts/benchmarks/calculator.py

- overhead: water of 192 atoms whose atoms oscillate as those of a liquid at 300 K, in steps of 0.5 fs. Each step is a
  call of `Atoms.get_forces`, and the call of the model inside it (energy, forces and stress) is timed too. The rest is
  the calculator: its checks, its neighbour list, ASE. Steps that search for neighbours are among those of the mean.
- skin: the same, for neighbour lists of several widths.
- batch: energy and forces of 64 molecules of 27 atoms, each by its own call and with `Calculator.batched`.

Weights are random; so is what is computed, but not what it costs.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from ase import Atoms
from harness import Timing, ended, in_turn, machine, parser, plain_table, publish, timed
from potentials import cases
from potentials.contenders import encoder

from molgen.conversion import to_ase
from molgen.elements import SYMBOLS
from molgen.models.document import ElementRecord, PotentialRecord
from molgen.models.potential import Potential
from molgen.models.potential_assembly import assemble_potential
from molgen.simulation import Calculator
from molgen.simulation.calculator import DEFAULT_SKIN

_STEP = 0.5  # fs
_TEMPERATURE = 300.0  # K
_KB = 8.314462618e-7  # amu Å²/fs² per K

# fs: a hydrogen of water librates, an oxygen rattles in the cage of its neighbours
_PERIODS = {1: 45.0, 8: 160.0}
_NEIGHBORS = 50.0  # per atom within 5 Å; scales sums, changes no cost


@dataclass(frozen=True)
class Choice:
    """A component with its options."""

    use: str
    config: Mapping[str, Any]


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print and write."""
    arguments = _options().parse_args(argv)
    molecules, steps, copies = 64, arguments.steps, 64
    if arguments.quick:
        molecules, steps, copies, arguments.repeats = 8, 4, 4, 2
        arguments.networks, arguments.skins, arguments.batch_sizes = arguments.networks[:1], [0.0, 0.5], [4]
    torch.set_num_threads(arguments.threads)
    where = machine()
    models = {name: potential(name, arguments.dtype) for name in arguments.networks}
    box, many = to_ase(cases.water(molecules))[0], to_ase(cases.molecule(copies))
    overheads = {name: overhead(model, box, steps, arguments.skin) for name, model in models.items()}
    _show(f"{len(box)} atoms of water, skin {arguments.skin} Å, ms", [_row(n, found) for n, found in overheads.items()])
    first = arguments.networks[0]
    skins = {skin: overhead(models[first], box, steps, skin) for skin in arguments.skins}
    rows = [{"skin, Å": skin, **_row(first, found)} for skin, found in skins.items()]
    _show("by the width of the neighbour list, ms", rows)
    batches = {name: batch(model, many, arguments.batch_sizes, arguments.repeats) for name, model in models.items()}
    publish(
        "calculator",
        f"{len(many)} molecules of {len(many[0])} atoms, energy and forces, ms per molecule; median (min–max)",
        [row for name, found in batches.items() for row in _batch_rows(name, found, len(many))],
        settings={key: value for key, value in vars(arguments).items() if key not in ("json", "quick")},
        results={
            "overhead": {name: found.as_dict() for name, found in overheads.items()},
            "skin": {str(skin): found.as_dict() for skin, found in skins.items()},
            "batch": {name: {str(size): t.as_dict() for size, t in found.items()} for name, found in batches.items()},
        },
        where=where,
        path=arguments.json,
        quick=arguments.quick,
    )


def _options() -> argparse.ArgumentParser:
    options = parser("calculator", __doc__, repeats=7, threads=2)
    options.add_argument("--networks", nargs="+", default=["egnn", "gaunt"], metavar="NAME")
    options.add_argument("--dtype", choices=("float32", "float64"), default="float64")
    options.add_argument("--steps", type=int, default=100, help="of the oscillating water (default 100)")
    options.add_argument("--skin", type=float, default=DEFAULT_SKIN, metavar="Å", help=f"(default {DEFAULT_SKIN})")
    options.add_argument(
        "--skins", type=float, nargs="*", default=[0.0, 0.25, 0.5, 0.75, 1.0, 1.5], metavar="Å", help="to compare"
    )
    options.add_argument("--batch-sizes", type=int, nargs="+", default=[4, 16, 64], help="(default 4 16 64)")
    return options


def potential(name: str, dtype: str) -> Potential:
    """One of the compared networks with an energy head and random weights."""
    record = PotentialRecord(
        elements={SYMBOLS[number]: ElementRecord(isolated_energy=0.0) for number in cases.ELEMENTS}
    )
    torch.manual_seed(0)
    made = assemble_potential(Choice(**encoder(name)), [Choice("energy", {})], record, _NEIGHBORS)
    return made.module.to(getattr(torch, dtype)).eval().requires_grad_(False)


@dataclass(frozen=True)
class Overhead:
    """Seconds of every step, of the model and of the calculator around it."""

    model: tuple[float, ...]
    calculator: tuple[float, ...]
    searches: int

    @property
    def median(self) -> float:
        """Of what a step takes beyond the model, s."""
        return statistics.median(b - a for a, b in zip(self.model, self.calculator, strict=True))

    @property
    def mean(self) -> float:
        """Of the same, s: searches are in it."""
        return statistics.mean(self.calculator) - statistics.mean(self.model)

    def as_dict(self) -> dict[str, object]:
        """Plain data for JSON."""
        return {
            "median_s": self.median,
            "mean_s": self.mean,
            "searches": self.searches,
            "model_s": list(self.model),
            "calculator_s": list(self.calculator),
        }


def overhead(model: Potential, box: Atoms, steps: int, skin: float) -> Overhead:
    """The calculator and the model inside it, step by step; the first steps, in which both warm up, are left out."""
    warm_up = min(10, steps)
    atoms = box.copy()
    atoms.calc = calculator = Calculator(model, dtype=None, skin=skin)
    inside, around, searches = [], [], 0
    begun = [0.0]
    hooks = (
        model.register_forward_pre_hook(lambda *_: begun.__setitem__(0, time.perf_counter())),
        model.register_forward_hook(lambda *_: inside.append(time.perf_counter() - begun[0])),
    )
    for step, positions in enumerate(oscillations(box, warm_up + steps)):
        atoms.positions = positions
        around.append(timed(atoms.get_forces))
        if step == warm_up - 1:
            searches = calculator.neighbor_searches
    for hook in hooks:
        hook.remove()
    return Overhead(tuple(inside[warm_up:]), tuple(around[warm_up:]), calculator.neighbor_searches - searches)


def oscillations(box: Atoms, steps: int) -> list[np.ndarray]:
    """Positions [N, 3] Å of each step: every atom about its place, with the amplitude that the temperature gives."""
    random = np.random.default_rng(0)
    shape = (len(box), 3)
    frequencies = 2 * np.pi / np.array([[_PERIODS[number]] for number in box.numbers]) * random.uniform(0.8, 1.2, shape)
    amplitudes = random.rayleigh(np.sqrt(_KB * _TEMPERATURE / box.get_masses()[:, None]) / frequencies)
    phases = random.uniform(0, 2 * np.pi, shape)
    return [box.positions + amplitudes * np.cos(frequencies * _STEP * step + phases) for step in range(steps)]


def batch(model: Potential, frames: Sequence[Atoms], sizes: Sequence[int], repeats: int) -> dict[int, Timing]:
    """Seconds for all frames, by the size of the batch; 0 for one call each."""
    calculator = Calculator(model, dtype=None)

    def one_by_one() -> None:
        for frame in frames:
            calculator.get_forces(frame)

    runs: dict[int, Callable[[], object]] = {0: one_by_one}
    runs |= {size: partial(calculator.batched, frames, batch_size=size) for size in sizes}
    for run in runs.values():
        run()
    return in_turn(runs, repeats)


def _row(name: str, found: Overhead) -> dict[str, object]:
    return {
        "network": name,
        "model": f"{1e3 * statistics.median(found.model):.2f}",
        "calculator": f"{1e3 * statistics.median(found.calculator):.2f}",
        "more, median": f"{1e3 * found.median:.2f}",
        "more, mean": f"{1e3 * found.mean:.2f}",
        "steps per search": f"{len(found.model) / found.searches:.0f}" if found.searches else "–",
    }


def _batch_rows(name: str, found: Mapping[int, Timing], count: int) -> list[dict[str, object]]:
    return [
        {
            "network": name,
            "batch": size or "one by one",
            "ms": timing.text(1e3 / count),
            "times as fast": f"{found[0].median / timing.median:.2f}",
        }
        for size, timing in found.items()
    ]


def _show(title: str, rows: Sequence[Mapping[str, object]]) -> None:
    print(f"{title}\n\n{plain_table(rows)}\n", flush=True)


if __name__ == "__main__":
    raise SystemExit(ended(main))
