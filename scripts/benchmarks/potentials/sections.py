"""What is measured of the contenders: seconds of energies and forces and of training steps, and memory."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial

from harness import Timing, in_turn

from potentials.cases import Case
from potentials.contenders import Contender, Field
from potentials.workers import NoAnswerError

__all__ = ["Measured", "memory", "prepare", "table", "times"]


@dataclass(frozen=True)
class Measured:
    """One figure of one network."""

    network: str
    section: str  # forces, training or memory
    case: str
    threads: int
    timing: Timing | None = None
    bytes: int | None = None

    @property
    def value(self) -> float:
        """What is compared: seconds of a structure or step, or bytes."""
        return self.timing.median if self.timing else float(self.bytes or 0)

    def text(self, *, spread: bool = True) -> str:
        """In ms, steps/s or MB; with the range of the runs, where asked for."""
        if self.timing is None:
            return f"{self.value / 1e6:.0f}"
        if self.section == "training":
            return self.timing.rate_text(1.0, 2) if spread else f"{1 / self.value:.2f}"
        return self.timing.text(1e3, 1) if spread else f"{1e3 * self.value:.1f}"

    def as_dict(self) -> dict[str, object]:
        """Plain data for JSON."""
        found = {"network": self.network, "section": self.section, "case": self.case, "threads": self.threads}
        return found | (self.timing.as_dict() if self.timing else {"bytes": self.bytes})


_Key = tuple[str, str, str]  # section, case, network
Prepared = dict[_Key, tuple[Contender, str, int]]  # with the key of the run and the calls in a turn


def prepare(field: Field, forces: Sequence[Case], training: Sequence[Case]) -> Prepared:
    """All that can be timed; who can't is left out, with the reason."""
    found: Prepared = {}
    for section, cases in (("forces", forces), ("training", training)):
        for case in cases:
            for contender in field.contenders:
                if section == "training" and not contender.trains:
                    continue
                try:
                    run = contender.prepare(case, training=section == "training")
                except NoAnswerError as error:
                    field.left_out[f"{contender.name}, {section}, {case.name}"] = str(error)
                else:
                    found[section, case.name, contender.name] = contender, run, case.calls
    return found


def times(prepared: Prepared, threads: int, repeats: int) -> list[Measured]:
    """Seconds of everything that was prepared, run in turns after a turn to warm up."""
    turns = {key: partial(contender.seconds, run, calls) for key, (contender, run, calls) in prepared.items()}
    in_turn(turns, 1)
    timings = in_turn(turns, repeats, clock=lambda run: run())
    return [Measured(name, section, case, threads, timing) for (section, case, name), timing in timings.items()]


def memory(field: Field, cases: Sequence[Case]) -> list[Measured]:
    """Bytes that training adds; who can't be measured is left out, with the reason."""
    found = []
    for case in cases:
        for contender in field.contenders:
            if contender.trains:
                try:
                    added = contender.peak(field.small, case)
                except NoAnswerError as error:
                    field.left_out[f"{contender.name}, memory, {case.name}"] = str(error)
                else:
                    found.append(Measured(contender.name, "memory", case.name, 1, bytes=added))
    return found


def table(found: Iterable[Measured], *, beside: str | None = None) -> list[dict[str, object]]:
    """A row per network, a column per case: figures, or how many times the figure of `beside` is as large."""
    figures = {(one.network, one.case): one for one in found}
    rows: dict[str, dict[str, object]] = {}
    for (network, case), one in figures.items():
        row = rows.setdefault(network, {"network": network})
        if beside is None:
            row[case] = one.text()
        elif (beside, case) in figures:
            row[case] = f"{figures[beside, case].value / one.value:.2f}"
    return list(rows.values())
