"""`compare`: one model, several samplers and numbers of steps, and what each gives for what it costs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from typing import Any

import torch
from torch import nn

from molgen.chemistry.metrics import Metric, Metrics
from molgen.errors import MolgenError, RequestError
from molgen.generation.generated import GeneratedMolecules
from molgen.generation.generator import Generator
from molgen.generation.plan import DEFAULT_BATCH_SIZE
from molgen.generation.request import check_count, check_seed
from molgen.generation.samplers import SamplerChoice, choose_sampler
from molgen.host.registry import registry
from molgen.models.document import library_versions

__all__ = ["COMPARED", "Compared", "Comparison", "ComparisonInterrupted", "compare"]

COMPARED = ("d1_atom_stability", "d1_molecule_stability", "validity")
"""The metrics that a comparison shows."""

_HEAD = ("sampler", "steps", "evaluations", "molecules/s", "stable atoms %", "stable molecules %", "valid %", "failed")


@dataclass(frozen=True)
class Compared:
    """What one sampler gave with one number of steps."""

    name: str  # as it was asked for
    sampler: str  # id
    options: Mapping[str, Any] | None  # all of them, where the sampler has a config
    n_steps: int
    evaluations: float  # of the network, for each molecule
    molecules_per_second: float  # while sampling
    n_failed: int  # molecules that are no results; they count in the metrics
    metrics: Mapping[str, Metric]  # those of COMPARED

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        metrics = {name: metric.as_dict() for name, metric in self.metrics.items()}
        return {field.name: getattr(self, field.name) for field in fields(self)} | {"metrics": metrics}


@dataclass(frozen=True)
class Comparison:
    """Rows in the order in which they were drawn, and what they have in common."""

    record: Mapping[str, Any]  # model, n, seed, device, dtype, versions
    planned: int  # rows; an interrupt leaves fewer
    refused: Mapping[str, str]  # installed samplers that can't draw from the model: the reasons
    reference: Mapping[str, Metric]  # the same metrics of the training data, where the model carries them
    rows: tuple[Compared, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON, as `compare.json` holds it."""
        return {
            **self.record,
            "planned_rows": self.planned,
            "refused": dict(self.refused),
            "reference": {name: metric.as_dict() for name, metric in self.reference.items()},
            "rows": [row.as_dict() for row in self.rows],
        }

    def cells(self) -> list[tuple[str, ...]]:
        """The table in text: its head, a row for each sampler and number of steps, and one of the training data."""
        rows = [_HEAD, *(_cells(row) for row in self.rows)]
        if self.reference:
            rows.append(("training data", "", "", "", *(_percent(self.reference.get(name)) for name in COMPARED), ""))
        return rows

    def table(self) -> str:
        """Text for people: what `cells` says, in columns; 95 % intervals in brackets."""
        rows = self.cells()
        widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        lines.insert(1, "  ".join("-" * width for width in widths))
        return "\n".join(lines)


class ComparisonInterrupted(KeyboardInterrupt):
    """The user interrupted; `comparison` holds the rows that were finished."""

    def __init__(self, comparison: Comparison) -> None:
        self.comparison = comparison
        super().__init__("interrupted")


def compare(
    generator: Generator,
    samplers: Mapping[str, SamplerChoice] | Sequence[str] | None = None,
    steps: Sequence[int] = (10, 20, 50),
    n: int = 100,
    *,
    seed: int = 0,
    batch_size: int | None = None,
    progress: bool = True,
    on_row: Callable[[Comparison], None] | None = None,
) -> Comparison:
    """Draw the same request with every sampler and number of steps.

    Args:
        generator: from `molgen.load`.
        samplers: ids; or, by the names that rows are to have, what `Generator.generate` takes as `sampler`. By default
            all that are installed and can draw from the model, its own first.
        steps: numbers of steps.
        n: molecules of each.
        seed: of each, so that all start from the same noise.
        batch_size: most molecules that are drawn together.
        progress: show a bar on stderr, where that is a terminal.
        on_row: called with what there is, before the first row and after every one.

    Raises:
        RequestError, ConfigError, PluginError: a sampler that can't draw from the model, before the first row.
        ComparisonInterrupted: the user interrupts; it holds the rows that were finished.

    Example::

        print(compare(molgen.load("qm9"), ["karras", "flow"], steps=[10, 50], n=200).table())
    """
    n, seed = check_count(n, "n"), check_seed(seed)
    counts = list(dict.fromkeys(check_count(each, "steps") for each in steps))
    if not counts:
        raise RequestError("no number of steps is given", where="steps", expected="one at least")
    loaded = generator._loaded  # its network is what is counted
    chosen, refused = _choices(generator, samplers)
    for choice in chosen.values():
        choose_sampler(loaded, choice, counts[0])
    batch_size = DEFAULT_BATCH_SIZE if batch_size is None else check_count(batch_size, "batch_size")
    options: dict[str, Any] = {"seed": seed, "batch_size": batch_size}
    found = Comparison(_record(generator, n, options), len(counts) * len(chosen), refused, {})
    tell = on_row or (lambda _: None)
    try:
        tell(found)
        generator.generate(min(n, 2), n_steps=2, progress=False)  # the first run of a process is slower than the next
        for name, choice in chosen.items():
            for count in counts:
                with _counted(loaded.module) as calls:
                    drawn = generator.generate(n, sampler=choice, n_steps=count, progress=progress, **options)
                row = _row(name, drawn, sum(calls))
                found = replace(found, rows=(*found.rows, row), reference=_compared(drawn.metrics.reference))
                tell(found)
    except KeyboardInterrupt as interrupt:
        raise ComparisonInterrupted(found) from interrupt
    return found


def _choices(
    generator: Generator, samplers: Mapping[str, SamplerChoice] | Sequence[str] | None
) -> tuple[dict[str, SamplerChoice], dict[str, str]]:
    """What is compared, by name; and of those that nobody asked for by name, why some can't be."""
    found: dict[str, SamplerChoice] = {}
    if samplers is not None:
        found.update(samplers if isinstance(samplers, Mapping) else {name: name for name in samplers})
        if not found:
            raise RequestError("no sampler is given", where="samplers", expected="one at least")
        return found, {}
    installed = {each.id: each.component.name for each in registry().components("sampler")}
    own = generator.document.components["sampler"].use
    refused: dict[str, str] = {}
    for id in sorted(installed, key=lambda id: (id != own, id)):
        # the short name is the id's for as long as one distribution alone has it
        name = installed[id] if list(installed.values()).count(installed[id]) == 1 else id
        try:
            choose_sampler(generator._loaded, id, 1)
        except MolgenError as error:
            refused[name] = str(error)
        else:
            found[name] = id
    return found, refused


@contextmanager
def _counted(module: nn.Module) -> Iterator[list[int]]:
    """Within, every evaluation of the network adds a one to the list."""
    calls: list[int] = []
    handle = module.register_forward_hook(lambda *_: calls.append(1))
    try:
        yield calls
    finally:
        handle.remove()


def _row(name: str, drawn: GeneratedMolecules, calls: int) -> Compared:
    request = drawn.record["request"]
    return Compared(
        name=name,
        sampler=request["sampler"],
        options=request["sampler_config"],
        n_steps=request["n_steps"],
        evaluations=round(calls / len(drawn.record["plan"]["batches"]), 3),
        molecules_per_second=drawn.record["timing"]["molecules_per_second"],
        n_failed=len(drawn) - drawn.n_results,
        metrics=_compared(drawn.metrics),
    )


def _compared(metrics: Metrics | None) -> dict[str, Metric]:
    return {name: metrics[name] for name in COMPARED if name in metrics} if metrics is not None else {}


def _record(generator: Generator, n: int, options: Mapping[str, Any]) -> dict[str, Any]:
    document = generator.document
    return {
        "model": {"name": document.name, "id": generator.id, "tensors_sha256": document.tensors_sha256},
        "n": n,
        **options,
        "device": str(generator.device),
        "dtype": generator.precision.name,
        "threads": torch.get_num_threads(),
        "versions": library_versions(),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _cells(row: Compared) -> tuple[str, ...]:
    numbers = (str(row.n_steps), f"{row.evaluations:g}", f"{row.molecules_per_second:.3g}")
    return (row.name, *numbers, *(_percent(row.metrics.get(name)) for name in COMPARED), str(row.n_failed))


def _percent(metric: Metric | None) -> str:
    if metric is None:
        return "–"
    return f"{100 * metric.value:.1f} ({100 * metric.low:.1f}–{100 * metric.high:.1f})"
