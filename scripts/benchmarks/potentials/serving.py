"""What runs in the process of a driver: commands in, seconds or bytes out, one JSON document per line.

The same code times every package: energies and forces, training steps and memory. It needs torch and numpy alone.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

ANSWER = "answer: "  # begins a line that is one; packages print lines of their own

WARM_UP = 4  # calls; TorchScript looks at two before it compiles
_JITTER = 0.01  # Å, of positions from call to call: too little for another list of neighbours
_LEARNING_RATE = 1e-4


@dataclass(frozen=True)
class Batch:
    """Structures and their edges, the same for everyone.

    Edges go from senders to receivers, sorted by receiver:
    vector = positions[sender] - positions[receiver] + cell_shift @ cell.
    """

    positions: Tensor  # [N, 3] Å, float32
    species: Tensor  # [N] int64
    batch: Tensor  # [N] int64
    n_atoms: Tensor  # [B] int64
    cell: Tensor  # [B, 3, 3] Å, float32; zeros where there is none
    pbc: Tensor  # [B, 3] bool
    senders: Tensor  # [E] int64
    receivers: Tensor  # [E] int64
    cell_shifts: Tensor  # [E, 3] int64
    elements: Tensor  # atomic numbers that a model has to know

    @classmethod
    def read(cls, path: Path) -> Batch:
        """From an npz that has an array per field."""
        with np.load(path, allow_pickle=False) as arrays:
            return cls(**{field.name: torch.from_numpy(arrays[field.name]) for field in fields(cls)})

    @property
    def average_neighbors(self) -> float:
        """Edges per atom."""
        return len(self.senders) / len(self.positions)

    @property
    def kinds(self) -> Tensor:
        """[N] int64: the index of each atom's element."""
        return torch.searchsorted(self.elements, self.species)


@dataclass(frozen=True)
class Network:
    """A model and how it is called.

    Args:
        module: has the parameters.
        evaluate: (positions, create_graph) to energies [B] and forces [N, 3] of one `Batch`; with `create_graph` they
            can be derived once more.
    """

    module: nn.Module
    evaluate: Callable[[Tensor, bool], tuple[Tensor, Tensor]]


Build = Callable[[dict[str, Any], Batch], Network]


class Server:
    """Answers commands, each a method here with the command's other entries as arguments."""

    def __init__(self, build: Build, folder: Path, versions: dict[str, str]) -> None:
        self._build, self._folder, self._versions = build, folder, versions
        self._runs: dict[str, Callable[[], None]] = {}

    def threads(self, count: int) -> dict[str, Any]:
        """Sets them, and says what runs here."""
        torch.set_num_threads(count)
        return {"versions": self._versions | {"torch": torch.__version__}}

    def prepare(self, key: str, network: dict[str, Any], case: str, training: bool, warm_up: int) -> dict[str, Any]:
        """Builds a model for a case and calls it until it has settled."""
        batch = Batch.read(self._folder / f"{case}.npz")
        torch.manual_seed(0)
        made = self._build(network, batch)
        self._runs[key] = _training_step(made, batch) if training else _evaluation(made, batch)
        for _ in range(warm_up):
            self._runs[key]()
        return {"parameters": sum(parameter.numel() for parameter in made.module.parameters())}

    def run(self, key: str, calls: int = 1) -> dict[str, Any]:
        """Seconds of a call, the median of some."""
        seconds = []
        for _ in range(calls):
            start = time.perf_counter()
            self._runs[key]()
            seconds.append(time.perf_counter() - start)
        return {"seconds": float(np.median(seconds))}

    def peak(self, network: dict[str, Any], small: str, case: str, steps: int = 3) -> dict[str, Any]:
        """Bytes by which training steps of a case raise the peak of a process that has trained on a small one."""
        self.prepare("small", network, small, True, WARM_UP)
        self.prepare("case", network, case, True, 0)
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak begins anew
        before = _resident("VmRSS")
        for _ in range(steps):
            self._runs["case"]()
        return {"bytes": _resident("VmHWM") - before}


def _evaluation(network: Network, batch: Batch) -> Callable[[], None]:
    network.module.eval().requires_grad_(False)
    random = torch.Generator().manual_seed(0)

    def run() -> None:
        energies, forces = network.evaluate(_jittered(batch, random), False)
        if not (energies.isfinite().all() and forces.isfinite().all()):
            raise FloatingPointError("energies or forces are not finite")

    return run


def _training_step(network: Network, batch: Batch) -> Callable[[], None]:
    network.module.train()
    random = torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam(network.module.parameters(), lr=_LEARNING_RATE)
    wanted = 0.1 * _normal(batch, random)  # eV/Å, as good as any

    def run() -> None:
        optimizer.zero_grad()
        energies, forces = network.evaluate(_jittered(batch, random), True)
        loss = (energies / batch.n_atoms).square().mean() + (forces - wanted).square().mean()
        loss.backward()
        optimizer.step()
        if not loss.isfinite():
            raise FloatingPointError("the loss is not finite")

    return run


def _jittered(batch: Batch, random: torch.Generator) -> Tensor:
    return batch.positions + _JITTER * _normal(batch, random)


def _normal(batch: Batch, random: torch.Generator) -> Tensor:
    # a package may have changed the default dtype
    return torch.randn(batch.positions.shape, generator=random, dtype=batch.positions.dtype)


def _resident(name: str) -> int:
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{name}:"):
            return 1024 * int(line.split()[1])
    raise OSError(f"/proc/self/status has no {name}")


def serve(build: Build, **versions: str) -> None:
    """Answers the commands on stdin until it ends; the folder of the cases is the program's one argument."""
    server = Server(build, Path(sys.argv[1]), versions)
    for line in sys.stdin:
        command = json.loads(line)
        try:
            answer = getattr(server, command.pop("do"))(**command)
        except Exception as error:  # a package may raise what it likes; who asked tells the user
            reason = str(error).strip() or type(error).__name__
            answer = {"error": f"{type(error).__name__}: {reason}"}
        print(f"\n{ANSWER}{json.dumps(answer)}", flush=True)
