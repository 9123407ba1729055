"""The encoders as potentials, beside MACE and NequIP: energy and forces, training steps, memory, float32 on a CPU.

python scripts/benchmarks/encoders.py --mace-python MACE/bin/python --nequip-python NEQUIP/bin/python

where MACE and NEQUIP are virtual environments of their own (`pip install mace-torch`, `pip install nequip`: they want
different versions of e3nn); without one its rows are left out. Every network runs in a process of its own, all are
given the same structures and edges, and they are timed in turns by the same code:

- forces: energy and forces of one structure. The edges are found beforehand; positions change from call to call, and
  vectors are computed anew. `its calculator` is the peer's ASE calculator: list of neighbours, stress and all.
- training: steps of a loss of energies and forces, with its derivative through the forces, and Adam.
- memory: by how much three such steps raise the peak of resident memory of a fresh process at one thread, in which the
  package has trained on a small molecule before. Freed blocks go back to the system at once. Needs Linux.

Ours have a minimal read-out: an MLP on the invariants of each atom. MACE: 32x0e + 32x1o, 2 layers, correlation 3,
l = 3, eager as its calculator calls it (e3nn's TorchScript inside). NequIP: 3 layers, l = 1, 32 features, parity,
eager; it computes the virial in any case. All have a cutoff of 5 Å and know H, C, N, O.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from harness import ended, machine, parser, plain_table, publish
from potentials import growth, sections
from potentials.cases import CUTOFF, Case, molecule, water
from potentials.contenders import ENCODERS, PEERS, Field
from potentials.sections import Measured

SECTIONS = ("forces", "training", "memory")
_UNITS = {"forces": "energy + forces, ms", "training": "training, steps/s", "memory": "memory of training, MB"}
_BESIDE = "MACE"
_M_MAX = 2  # of --degrees
_SMALL = Case("27 atoms", molecule, calls=10)


@dataclass(frozen=True)
class Plan:
    """The cases of each section."""

    forces: tuple[Case, ...]
    training: tuple[Case, ...]
    memory: tuple[Case, ...]
    scaling: tuple[int, ...]  # molecules of water
    degrees: tuple[int, ...]
    degrees_of: Case


_BOX, _LARGE = Case("192 atoms", partial(water, 64), calls=3), Case("999 atoms", partial(water, 333))
_WHOLE = Plan(
    forces=(_SMALL, _BOX, _LARGE),
    training=(Case("8 × 27 atoms", partial(molecule, 8), calls=3), _BOX),
    memory=(_BOX, _LARGE),
    scaling=(33, 100, 333, 1000, 3333),
    degrees=(2, 3, 4, 5, 6),
    degrees_of=_BOX,
)
_TINY = Case("24 atoms", partial(water, 8))
_QUICK = Plan((_SMALL, _TINY), (_TINY,), (_TINY,), (8, 16), (2, 3), _SMALL)


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print and write."""
    arguments = _options().parse_args(argv)
    plan = _WHOLE
    if arguments.quick:
        plan, arguments.repeats = _QUICK, 2
        arguments.networks, arguments.threads = arguments.networks[:1], arguments.threads[:1]
    where = machine()
    with tempfile.TemporaryDirectory() as name:
        field = Field(Path(name), _SMALL)
        try:
            found, grown = _measured(field, plan, arguments)
        finally:
            field.close()
    for who, reason in field.left_out.items():
        print(f"left out: {who}: {reason}")
    settings = {key: value for key, value in vars(arguments).items() if key not in ("json", "quick")}
    settings |= {key: str(value) for key, value in settings.items() if isinstance(value, Path)}
    settings |= {"encoders": {name: dict(ENCODERS[name]) for name in arguments.networks}, "cutoff": CUTOFF}
    publish(
        "encoders",
        "\nin short: medians",
        _summary(found) or [{"measured": "above" if any(grown.values()) else "nothing"}],
        settings=settings | {"dtype": "float32", "versions": field.versions, "parameters": field.parameters},
        results={"figures": [one.as_dict() for one in found], **grown, "left_out": field.left_out},
        where=where | {"threads": " and ".join(map(str, arguments.threads))},
        path=arguments.json,
        quick=arguments.quick,
    )


def _options() -> argparse.ArgumentParser:
    options = parser("encoders", __doc__, repeats=9)
    options.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="CPU threads (default 1 2)")
    names = ", ".join(ENCODERS)
    options.add_argument(
        "--networks",
        nargs="+",
        choices=tuple(ENCODERS),
        default=list(ENCODERS),
        metavar="NAME",
        help=f"of ours: {names} (default all)",
    )
    options.add_argument("--sections", nargs="*", choices=SECTIONS, default=list(SECTIONS), help="(default all)")
    for name in PEERS:
        options.add_argument(
            f"--{name.lower()}-python", type=Path, metavar="PATH", help=f"of an environment with {name}"
        )
    options.add_argument("--scaling", action="store_true", help="ours against atoms too: water, 99 to 9 999")
    options.add_argument("--degrees", action="store_true", help=f"escn against l_max too: 2 to 6 at m_max {_M_MAX}")
    return options


def _measured(
    field: Field, plan: Plan, arguments: argparse.Namespace
) -> tuple[list[Measured], dict[str, list[dict[str, object]]]]:
    """Figures, and plain data of what grows; each table is printed when it is done."""
    chosen = {section: getattr(plan, section) if section in arguments.sections else () for section in SECTIONS}
    for case in {case.name: case for case in (_SMALL, plan.degrees_of, *sum(chosen.values(), ()))}.values():
        case.write(field.folder)
    field.add_encoders(arguments.networks, sys.executable)
    for name in PEERS:
        field.add_peer(name, getattr(arguments, f"{name.lower()}_python"))
    found: list[Measured] = []
    prepared = sections.prepare(field, chosen["forces"], chosen["training"])
    for threads in arguments.threads:
        field.set_threads(threads)
        found += sections.times(prepared, threads, arguments.repeats)
        for section in ("forces", "training"):
            _show(section, [one for one in found if (one.section, one.threads) == (section, threads)])
    found += sections.memory(field, chosen["memory"])
    _show("memory", [one for one in found if one.section == "memory"])
    field.set_threads(arguments.threads[0])
    repeats = min(arguments.repeats, 5)
    grown = {}
    if arguments.scaling:
        atoms = growth.of_atoms(field, arguments.networks, plan.scaling, repeats, arguments.threads[0])
        grown["scaling"] = _show_growth("boxes of water", atoms, "atoms:", arguments)
    if arguments.degrees:
        degrees = growth.of_degrees(field, "escn", plan.degrees, plan.degrees_of, repeats, m_max=_M_MAX)
        grown["degrees"] = _show_growth(f"{plan.degrees_of.name}, m_max {_M_MAX}", degrees, "l_max =", arguments)
    return found, grown


def _show(section: str, found: Sequence[Measured]) -> None:
    if not found:
        return
    at = f"; {_threads(found[0].threads)}; median (min–max)" if section != "memory" else ""
    print(f"{_UNITS[section]}{at}\n\n{plain_table(sections.table(found))}\n", flush=True)
    if any(one.network == _BESIDE for one in found):
        beside = plain_table(sections.table(found, beside=_BESIDE))
        print(
            f"{section}{at.partition('; median')[0]}: how many times {_BESIDE} takes as much\n\n{beside}\n", flush=True
        )


def _show_growth(what: str, found: growth.Found, axis: str, arguments: argparse.Namespace) -> list[dict[str, object]]:
    shown, plain = growth.table(found, axis)
    if shown:
        title = f"{_UNITS['forces']}; {what}; {_threads(arguments.threads[0])}; median (min–max)"
        print(f"{title}\n\n{plain_table(shown)}\n", flush=True)
    return plain


def _summary(found: Sequence[Measured]) -> list[dict[str, object]]:
    rows: dict[tuple[str, int], dict[str, object]] = {}
    for one in sorted(found, key=lambda one: SECTIONS.index(one.section)):
        row = rows.setdefault((one.network, one.threads), {"network": one.network, "threads": one.threads})
        unit = _UNITS[one.section].rpartition(", ")[2]
        row[f"{one.section} {one.case}, {unit}"] = one.text(spread=False)
    return [rows[key] for key in sorted(rows, key=lambda key: key[1])]


def _threads(count: int) -> str:
    return f"{count} thread" + "s" * (count > 1)


if __name__ == "__main__":
    raise SystemExit(ended(main))
