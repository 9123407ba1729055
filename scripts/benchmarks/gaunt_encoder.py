"""What the parts of the encoder `gaunt` are worth: its options, and its Clebsch-Gordan twin, trained alike and timed.

python scripts/benchmarks/gaunt_encoder.py --data rmd17_ethanol.npz          trains, and reports what is there
python scripts/benchmarks/gaunt_encoder.py --data rmd17_ethanol.npz --cost   times, on a quiet machine, and reports

The data is a molecule of revised MD17 (Christensen and von Lilienfeld 2020): Z, R, E and F in Å and kcal/mol, with the
published splits. Every variant is a potential with a minimal read-out of the energy, an MLP on the invariants of each
atom. All have the same seed, batches, steps, loss and learning rates; errors are those of the averaged weights on
frames of the published test split. A run that is killed goes on from its last minute when it is started again.

Without --data the frames are invented, of a molecule with Morse potentials between all its atoms.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from harness import ended, in_turn, machine, parser, publish, saved_bytes
from harness.energy import EnergyModel, build_energy_model
from torch import Tensor

import molgen
from molgen.allocation import keep_freed_memory
from molgen.atomic import write_atomically
from molgen.errors import ConfigError, FileFormatError
from molgen.training.ema import MovingAverage
from molgen.training.state import load_state, save_state, saved_states

BASE: Mapping[str, Any] = {
    "channels": 16,
    "l_max": 3,
    "l_hidden": 1,
    "layers": 2,
    "correlation": 3,
    "radial_channels": 32,
    "cutoff": 5.0,
}
VARIANTS: Mapping[str, Mapping[str, Any]] = {
    "gaunt": {},
    "clebsch-gordan": {"tensor_product": "clebsch-gordan"},
    "gaunt-full": {"parity": "full"},
    "clebsch-gordan-full": {"tensor_product": "clebsch-gordan", "parity": "full"},
    "gaunt-rank-2": {"tensor_product": {"use": "gaunt", "config": {"rank": 2}}},
    "gaunt-rank-4": {"tensor_product": {"use": "gaunt", "config": {"rank": 4}}},
    "gaunt-no-weights": {"tensor_product": {"use": "gaunt", "config": {"weights": "none"}}},
    "gaunt-s2": {"nonlinearity": "s2"},
    "gaunt-no-nonlinearity": {"nonlinearity": "none"},
    "gaunt-unnormalized": {"normalize": False},
    "gaunt-correlation-1": {"correlation": 1},
    "gaunt-correlation-2": {"correlation": 2},
}

_EV: Final = 0.0433641153  # of a kcal/mol
_SAVED_EVERY = 60.0  # s
_BATCH = 5
_TRAINING_FRAMES, _TEST_FRAMES = 950, 500
_RATE, _LAST_RATE, _WARM_UP = 1e-2, 1e-5, 100  # learning rates, and steps until the first is reached
_LARGEST_GRADIENT = 10.0
_DECAY = 0.99  # of the moving average of the weights
_TOGETHER = 50  # frames evaluated at once


@dataclass(frozen=True)
class Frames:
    """Geometries of one molecule."""

    species: Tensor  # [n]
    positions: Tensor  # [F, n, 3] Å, float32
    energies: Tensor  # [F] eV, float64, less the mean of the training frames
    forces: Tensor  # [F, n, 3] eV/Å, float32

    def batch(self, rows: Tensor) -> molgen.Structures:
        """Some of them."""
        return molgen.Structures.build(
            self.positions[rows].flatten(0, 1), self.species.repeat(len(rows)), [len(self.species)] * len(rows)
        )


@dataclass(frozen=True)
class Data:
    """What is learned from, and what it is tested on."""

    train: Frames
    test: Frames
    average_neighbors: float
    fingerprint: str


def main(argv: Sequence[str] | None = None) -> None:
    """Train or time, then report all that the folder holds."""
    arguments = _options().parse_args(argv)
    if arguments.quick:
        arguments.variants, arguments.seeds = arguments.variants[:2], arguments.seeds[:1]
        arguments.steps, arguments.repeats = 3, 2
    keep_freed_memory()
    before = torch.get_num_threads()
    torch.set_num_threads(arguments.threads)
    where = machine() | {"threads": arguments.threads}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) if arguments.quick else arguments.folder
        data = _read(arguments.data) if arguments.data else _invented(12 if arguments.quick else 1500)
        if not (arguments.cost or arguments.report) or arguments.quick:
            for seed in arguments.seeds:
                for name in arguments.variants:
                    _train(name, seed, data, arguments.steps, folder)
        if arguments.cost or arguments.quick:
            found = {"machine": where, "variants": _costs(data, arguments.variants, arguments.repeats)}
            folder.mkdir(parents=True, exist_ok=True)
            write_atomically(folder / "costs.json", json.dumps(found, indent=1))
        results = _collected(folder)
    torch.set_num_threads(before)
    publish(
        "gaunt_encoder",
        f"{BASE}, batches of {_BATCH}; errors: mean over seeds (range); times: median (range)",
        [_row(name, found) for name, found in results.items()] or [{"variant": "none yet"}],
        settings={"base": BASE, "variants": VARIANTS, "steps": arguments.steps, "data": data.fingerprint}
        | {"batch": _BATCH, "learning_rates": [_RATE, _LAST_RATE], "average": _DECAY, "seeds": arguments.seeds}
        | {"training_frames": len(data.train.energies), "test_frames": len(data.test.energies)},
        results=results,
        where=where,
        path=arguments.json,
        quick=arguments.quick,
    )


def _options() -> argparse.ArgumentParser:
    options = parser("gaunt_encoder", __doc__, repeats=15, threads=1)
    names, place = ", ".join(VARIANTS), Path("build/benchmarks/gaunt_encoder")
    options.add_argument(
        "--data", type=Path, metavar="FILE", help="a molecule of revised MD17, npz (default: invented)"
    )
    options.add_argument(
        "--variants", nargs="+", choices=tuple(VARIANTS), default=list(VARIANTS), metavar="NAME", help=names
    )
    options.add_argument("--steps", type=int, default=3000, help="of training (default 3000)")
    options.add_argument("--seeds", type=int, nargs="+", default=[0], help="trained one after another (default 0)")
    options.add_argument("--folder", type=Path, default=place, help=f"states and results (default {place})")
    what = options.add_mutually_exclusive_group()
    what.add_argument("--cost", action="store_true", help="no training: times and memory of each variant")
    what.add_argument("--report", action="store_true", help="nothing but the table of what the folder holds")
    return options


def _read(path: Path) -> Data:
    """Frames of the first published split."""
    try:
        with np.load(path, allow_pickle=False) as file:
            found = {key: file[key] for key in ("Z", "R", "E", "F", "split_train_01", "split_test_01")}
    except (OSError, ValueError, KeyError) as error:
        raise FileFormatError(f"no molecule of revised MD17: {error}", where=str(path)) from error
    train, test = (torch.from_numpy(found[f"split_{side}_01"]).long() for side in ("train", "test"))
    return _data(
        torch.from_numpy(found["Z"]).long(),
        torch.from_numpy(found["R"]).float(),
        torch.from_numpy(found["E"]).double() * _EV,
        torch.from_numpy(found["F"]).double() * _EV,
        (train[:_TRAINING_FRAMES], test[:_TEST_FRAMES]),
    )


def _invented(count: int) -> Data:
    """Frames around the shape of methanol's heavy and two hydrogen atoms, each pair with a Morse potential."""
    draw = torch.Generator().manual_seed(0)
    species = torch.tensor([6, 8, 1, 1])
    rest = torch.tensor([[0.0, 0, 0], [1.4, 0, 0], [-0.4, 1.0, 0], [-0.4, -0.5, 0.9]], dtype=torch.float64)
    positions = rest + 0.08 * torch.randn(count, 4, 3, generator=draw, dtype=torch.float64)
    positions.requires_grad_(True)
    first, second = torch.triu_indices(4, 4, 1)
    lengths = (positions[:, first] - positions[:, second]).norm(dim=-1)
    depths = 2.0 + 0.1 * (species[first] * species[second]).double().sqrt()
    energies = (depths * (1 - torch.exp(-1.5 * (lengths - (rest[first] - rest[second]).norm(dim=-1)))) ** 2).sum(-1)
    (slope,) = torch.autograd.grad(energies.sum(), positions)
    parts = torch.arange(count).split(count * 2 // 3)
    return _data(species, positions.detach().float(), energies.detach(), -slope, (parts[0], parts[1]))


def _data(species: Tensor, positions: Tensor, energies: Tensor, forces: Tensor, sides: tuple[Tensor, Tensor]) -> Data:
    mean = energies[sides[0]].mean()
    train, test = (Frames(species, positions[r], energies[r] - mean, forces[r].float()) for r in sides)
    distances = torch.cdist(train.positions, train.positions)
    near = float((distances < BASE["cutoff"]).double().sum(-1).mean()) - 1
    digest = hashlib.sha256()
    for side in (train, test):
        for part in (side.species, side.positions, side.energies, side.forces):
            digest.update(part.numpy().tobytes())
    return Data(train, test, near, digest.hexdigest()[:16])


def _model(name: str, seed: int, data: Data) -> EnergyModel:
    torch.manual_seed(seed)
    return build_energy_model(
        "gaunt",
        {**BASE, **VARIANTS[name]},
        elements=sorted(set(data.train.species.tolist())),
        average_neighbors=data.average_neighbors,
    )


def _loss(model: EnergyModel, frames: Frames, rows: Tensor) -> Tensor:
    """Mean squares of force components, eV²/Å², and of energies per structure, eV²: forces dominate throughout."""
    structures = frames.batch(rows)
    energies, forces = model.energy_and_forces(structures, model.graph(structures), create_graph=True)
    of_forces = (forces - frames.forces[rows].flatten(0, 1)).square().mean()
    return of_forces + (energies - frames.energies[rows]).square().mean().to(of_forces.dtype)


def _rate(step: int, steps: int) -> float:
    fall = 0.5 * (1 + math.cos(math.pi * step / steps))
    return min(1.0, (step + 1) / _WARM_UP) * (_LAST_RATE + (_RATE - _LAST_RATE) * fall)


def _rows(step: int, frames: int, seed: int) -> Tensor:
    """The frames of a step: a function of its number, so that a run that goes on sees what it would have seen."""
    per_epoch = max(frames // _BATCH, 1)
    epoch, place = divmod(step, per_epoch)
    order = torch.randperm(frames, generator=torch.Generator().manual_seed(1_000_003 * seed + epoch))
    return order[place * _BATCH : (place + 1) * _BATCH]


class _Run:
    """A variant with one seed in training, and its state on the disk."""

    def __init__(self, name: str, seed: int, data: Data, steps: int, folder: Path) -> None:
        self.data, self.seed, self.steps, self.folder = data, seed, steps, folder / f"{name}-seed-{seed}"
        self.model = _model(name, seed, data)
        self.average = MovingAverage(self.model, _DECAY)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=_RATE, amsgrad=True)
        self.step, self.seconds = 0, 0.0
        self.settings = {"variant": name, "seed": seed, "steps": steps, "data": data.fingerprint}
        # what a result is compared by: it must not change between one start and the next
        self.settings |= {"config": {**BASE, **VARIANTS[name]}, "batch": _BATCH, "rates": [_RATE, _LAST_RATE, _WARM_UP]}
        states = saved_states(self.folder)
        if states:
            self._load(states[0])

    def forward(self) -> float:
        """One step; its loss."""
        for group in self.optimizer.param_groups:
            group["lr"] = _rate(self.step, self.steps)
        self.optimizer.zero_grad()
        loss = _loss(self.model, self.data.train, _rows(self.step, len(self.data.train.energies), self.seed))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), _LARGEST_GRADIENT)
        self.optimizer.step()
        self.average.update()
        self.step += 1
        return loss.item()

    def save(self) -> None:
        """All that it takes to go on."""
        tensors = {f"model/{name}": value.detach() for name, value in self.model.named_parameters()}
        tensors |= {f"average/{name}": value for name, value in self.average.state().items()}
        for place, values in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer/{place}/{key}": value for key, value in values.items()}
        document = {"settings": self.settings, "seconds": self.seconds, "updates": self.average.updates}
        save_state(self.folder, self.step, tensors, document | {"step": self.step})

    def _load(self, state: Path) -> None:
        tensors, document = load_state(state)
        if document["settings"] != self.settings:
            raise ConfigError(
                "a run with other settings is there", where=str(self.folder), remedy="choose another --folder"
            )
        with torch.no_grad():
            for name, parameter in self.model.named_parameters():
                parameter.copy_(tensors[f"model/{name}"])
        self.average.load({name: tensors[f"average/{name}"] for name in self.average.state()}, document["updates"])
        moments: dict[int, dict[str, Tensor]] = {}
        for name, value in tensors.items():
            if name.startswith("optimizer/"):
                _, place, key = name.split("/")
                moments.setdefault(int(place), {})[key] = value
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": moments, "param_groups": groups})
        self.step, self.seconds = document["step"], document["seconds"]


def _train(name: str, seed: int, data: Data, steps: int, folder: Path) -> None:
    """Train one variant to its end, and write its result."""
    run = _Run(name, seed, data, steps, folder)
    start = saved = time.perf_counter()
    losses: list[float] = []
    before = run.seconds
    while run.step < steps:
        losses.append(run.forward())
        now = time.perf_counter()
        if now - saved > _SAVED_EVERY or run.step == steps:
            run.seconds = before + now - start
            run.save()
            seen = f"{run.step}/{steps} steps, {run.seconds:.0f} s, force RMSE about "
            print(f"{name}, seed {seed}: {seen}{1e3 * statistics.median(losses[-100:]) ** 0.5:.1f} meV/Å", flush=True)
            saved = now
    with run.average.applied():
        errors = _errors(run.model, data.test)
    result = {**run.settings, **errors, "parameters": _parameters(run.model), "seconds": run.seconds}
    write_atomically(run.folder / "result.json", json.dumps(result, indent=1))
    print(f"{name}, seed {seed}: " + ", ".join(f"{key} {value:.2f}" for key, value in errors.items()), flush=True)


def _errors(model: EnergyModel, frames: Frames) -> dict[str, float]:
    """Of forces, meV/Å, and of energies, meV."""
    energies, forces = [], []
    for rows in torch.arange(len(frames.energies)).split(_TOGETHER):
        structures = frames.batch(rows)
        found = model.energy_and_forces(structures, model.graph(structures))
        energies.append((found[0].detach() - frames.energies[rows]).double())
        forces.append((found[1].detach() - frames.forces[rows].flatten(0, 1)).double())
    of_energies, of_forces = 1e3 * torch.cat(energies), 1e3 * torch.cat(forces)
    return {
        "force_mae": of_forces.abs().mean().item(),
        "force_rmse": of_forces.square().mean().sqrt().item(),
        "energy_mae": of_energies.abs().mean().item(),
    }


def _parameters(model: EnergyModel) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def _costs(data: Data, names: Sequence[str], repeats: int) -> dict[str, dict[str, Any]]:
    """Of each variant: seconds in turns, and bytes that a training step keeps for the backward pass."""
    cases: dict[tuple[str, str], Callable[[], object]] = {}
    found: dict[str, dict[str, Any]] = {}
    frames = data.train
    for name in names:
        model = _model(name, 0, data)
        for what, count in (("forces", 1), ("batch", _TOGETHER)):
            structures = frames.batch(torch.arange(count) % len(frames.energies))
            cases[name, what] = partial(model.energy_and_forces, structures, model.graph(structures))
        rows = torch.arange(_BATCH) % len(frames.energies)
        optimizer = torch.optim.Adam(model.parameters(), lr=0.0, amsgrad=True)
        cases[name, "step"] = partial(_step, model, optimizer, frames, rows)
        known = [*model.parameters(), *model.buffers(), frames.energies, frames.forces]
        saved = saved_bytes(partial(_loss, model, frames, rows), known)
        found[name] = {"parameters": _parameters(model), "saved_bytes": saved}
    in_turn(cases, 2)  # warms up
    for (name, what), timing in in_turn(cases, repeats).items():
        per = _TOGETHER if what == "batch" else 1
        found[name][what] = {"ms": timing.text(1e3 / per, 2), "structures": per, **timing.as_dict()}
    return found


def _step(model: EnergyModel, optimizer: torch.optim.Optimizer, frames: Frames, rows: Tensor) -> None:
    optimizer.zero_grad()
    _loss(model, frames, rows).backward()
    optimizer.step()


def _collected(folder: Path) -> dict[str, dict[str, Any]]:
    """Results of every seed and costs, by variant; what is not there yet is left out."""
    found: dict[str, dict[str, Any]] = {}
    costs = folder / "costs.json"
    measured = json.loads(costs.read_text(encoding="utf-8")) if costs.exists() else {"variants": {}}
    for name in VARIANTS:
        paths = sorted(folder.glob(f"{name}-seed-*/result.json"))
        one: dict[str, Any] = {"trained": [json.loads(path.read_text(encoding="utf-8")) for path in paths]}
        if name in measured["variants"]:
            one["cost"] = {**measured["variants"][name], "machine": measured["machine"]}
        if len(one) > 1 or one["trained"]:
            found[name] = one
    return found


def _row(name: str, found: Mapping[str, Any]) -> dict[str, object]:
    trained, cost = found["trained"], found.get("cost")
    row: dict[str, object] = {"variant": name, "parameters": (trained[0] if trained else cost)["parameters"]}
    columns = {"force_mae": "force MAE, meV/Å", "force_rmse": "force RMSE, meV/Å", "energy_mae": "energy MAE, meV"}
    for key, title in columns.items() if trained else ():
        values = [result[key] for result in trained]
        spread = f" ({min(values):.1f}–{max(values):.1f})" if len(values) > 1 else ""
        row[title] = f"{statistics.mean(values):.1f}{spread}"
    if trained:
        row["steps"] = trained[0]["steps"]
    if cost:
        row |= {"energy + forces, ms": cost["forces"]["ms"], f"of {_TOGETHER}, ms each": cost["batch"]["ms"]}
        row |= {"training step, ms": cost["step"]["ms"], "kept, MB": f"{cost['saved_bytes'] / 1e6:.1f}"}
    return row


if __name__ == "__main__":
    raise SystemExit(ended(main))
