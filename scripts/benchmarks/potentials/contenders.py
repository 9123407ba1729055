"""Who takes part: molgen's encoders and its peers, at the sizes that are compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from potentials.cases import CUTOFF, Case
from potentials.serving import WARM_UP
from potentials.workers import NoAnswerError, Worker

PEERS: Mapping[str, str] = {"MACE": "mace_driver", "NequIP": "nequip_driver"}

_MACE_SIZE = {"channels": 32, "l_max": 3, "l_hidden": 1, "layers": 2, "correlation": 3}
ENCODERS: Mapping[str, Mapping[str, Any]] = {
    "egnn": {"channels": 64, "layers": 4},
    "gaunt": _MACE_SIZE,
    "gaunt, clebsch-gordan": {**_MACE_SIZE, "tensor_product": "clebsch-gordan"},
    "escn": {"l_max": 2, "m_max": 2, "channels": 32, "layers": 2},
    "scn": {"l_max": 2, "m_max": 2, "channels": 32, "layers": 2},
}


def encoder(name: str, **changes: Any) -> dict[str, Any]:
    """What the driver of molgen is told of an entry of `ENCODERS`: its id, which ends at the comma, and its config."""
    return {"use": name.partition(",")[0], "config": {**ENCODERS[name], "cutoff": CUTOFF, **changes}}


@dataclass(frozen=True)
class Contender:
    """A network, and the process that runs it.

    Args:
        name: as it is printed.
        network: what its driver is told.
        worker: its process.
        trains: whether it is measured in training too.
    """

    name: str
    network: Mapping[str, Any]
    worker: Worker
    trains: bool = True

    def prepare(
        self,
        case: Case,
        *,
        training: bool = False,
        network: Mapping[str, Any] | None = None,
        warm_up: int = WARM_UP,
    ) -> str:
        """Has it, or another network of the same driver, built and warmed up; the key by which it is run.

        Raises:
            NoAnswerError: it can't.
        """
        chosen = network or self.network
        key = f"{chosen} {case.name} {training}"
        asked = {"network": chosen, "case": case.name, "training": training, "warm_up": warm_up}
        self.worker.ask("prepare", key=key, **asked)
        return key

    def seconds(self, key: str, calls: int = 1) -> float:
        """Of a call, the median of some."""
        return self.worker.ask("run", key=key, calls=calls)["seconds"]

    def peak(self, small: Case, case: Case) -> int:
        """Bytes that training on a case adds, in a process of its own at one thread."""
        with self.worker.again(keep_freed_memory=False) as worker:
            worker.ask("threads", count=1)
            return worker.ask("peak", network=self.network, small=small.name, case=case.name)["bytes"]


class Field:
    """All who take part, with their processes.

    Args:
        folder: of the cases, the small one in it.
        small: on which each one has to show that it runs.
    """

    def __init__(self, folder: Path, small: Case) -> None:
        self.folder, self.small = folder, small
        self.contenders: list[Contender] = []
        self.left_out: dict[str, str] = {}  # name → reason
        self.versions: dict[str, str] = {}
        self.parameters: dict[str, int] = {}  # of each network
        self._workers: list[Worker] = []

    def add_encoders(self, names: Sequence[str], python: str) -> None:
        """Entries of `ENCODERS`, each in a process of its own."""
        for name in names:
            if worker := self._start(name, python, "molgen_driver", encoder(name)):
                self.contenders.append(Contender(name, encoder(name), worker))

    def add_peer(self, name: str, python: Path | None) -> None:
        """A peer, and in the same process its ASE calculator."""
        if python is None:
            self.left_out[name] = f"give --{name.lower()}-python"
        elif worker := self._start(name, python, PEERS[name], {}):
            self.contenders.append(Contender(name, {}, worker))
            self.contenders.append(Contender(f"{name}, its calculator", {"calculator": True}, worker, trains=False))

    def set_threads(self, count: int) -> None:
        """Of all processes."""
        for worker in self._workers:
            worker.ask("threads", count=count)

    def close(self) -> None:
        """Ends all processes."""
        for worker in self._workers:
            worker.close()

    def _start(self, name: str, python: Path | str, driver: str, network: Mapping[str, Any]) -> Worker | None:
        try:
            worker = Worker(python, driver, self.folder)
        except NoAnswerError as error:
            self.left_out[name] = str(error)
            return None
        try:
            self.versions |= worker.ask("threads", count=1)["versions"]
            asked = {"key": "small", "network": network, "case": self.small.name, "training": False, "warm_up": 1}
            self.parameters[name] = worker.ask("prepare", **asked)["parameters"]
        except NoAnswerError as error:
            self.left_out[name] = str(error)
            worker.close()
            return None
        self._workers.append(worker)
        return worker
