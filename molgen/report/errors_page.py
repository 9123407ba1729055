"""The page of a potential's errors: predictions against labels, the table, and the structures it is worst at."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template

import torch
from torch import Tensor

from molgen.atomic import write_atomically
from molgen.data.label_names import ATOM_LABELS
from molgen.elements import SYMBOLS
from molgen.evaluation import Evaluation, LabelErrors, Measured
from molgen.evaluation.table import shown_unit
from molgen.report import tables
from molgen.report.scatter import MOST_POINTS, Pairs, scatter
from molgen.structures import Structures

__all__ = ["write_errors_report"]

_HEADLINES = ("energy_per_atom", "forces", "stress", "dipole", "charges")
_WORST = 12  # structures that are listed


def write_errors_report(path: Path | str, evaluation: Evaluation) -> None:
    """Write an evaluation as one self-contained page, which asks for nothing outside itself and runs no script.

    Raises:
        OutputError: the place can't be written.
    """
    # lone surrogates, as in names of files that are not UTF-8, become question marks
    write_atomically(path, _page(evaluation).encode("utf-8", "replace"))


def _page(evaluation: Evaluation) -> str:
    structures = evaluation.structures
    pairs = list(_pairs(evaluation))
    dense = any(len(each.reference) > MOST_POINTS for each in pairs)
    note = "On the line they agree; from energies a sum over the elements, fitted to the data, is taken off." + (
        " Shades tell how many numbers fall together." if dense else ""
    )
    subtitle = f"{evaluation.source}: {len(structures)} structures, {len(structures.species)} atoms"
    return Template(_own("errors.html")).substitute(
        title=escape(f"Errors of {Path(evaluation.model).name}"),
        style=_own("page.css"),
        subtitle=escape(subtitle),
        headlines="".join(map(_tile, _headlines(evaluation))),
        plots="".join(map(_figure, pairs)),
        plots_note=note,
        errors=_table(evaluation),
        worst=_worst(evaluation),
        provenance=tables.provenance(_facts(evaluation)),
    )


def _own(name: str) -> str:
    return (files("molgen.report") / name).read_text(encoding="utf-8")


def _headlines(evaluation: Evaluation) -> list[LabelErrors]:
    return [each for each in evaluation.errors if each.name in _HEADLINES]


def _tile(errors: LabelErrors) -> str:
    unit, factor = shown_unit(errors.unit)
    return (
        f'<div class="tile"><span>RMSE of {escape(errors.title)}</span>'
        f"<strong>{factor * errors.rmse.value:.3g}</strong>"
        f"<small>{escape(unit)} · MAE {factor * errors.mae.value:.3g}</small></div>"
    )


def _pairs(evaluation: Evaluation) -> Iterator[Pairs]:
    """One plot for each label, and of forces one for each element."""
    structures = evaluation.structures
    for name, predicted in evaluation.predictions.items():
        labels = structures.atom_labels if name in ATOM_LABELS else structures.structure_labels
        reference = labels[name].to(torch.float64)
        if name == "energy":
            elements = _of_elements(structures, reference)
            found = [1e3 * (energy - elements) / structures.n_atoms for energy in (reference, predicted)]
            yield _plot("energy beyond the elements", "meV/atom", *found)
        elif name == "forces":
            for number in torch.unique(structures.species).tolist():
                own = structures.species == number
                yield _plot(f"forces on {SYMBOLS[number]}", "eV/Å", reference[own], predicted[own])
        else:
            unit, factor = shown_unit(evaluation[name].unit)
            yield _plot(name, unit, factor * reference, factor * predicted)


def _of_elements(structures: Structures, energies: Tensor) -> Tensor:
    """[B] eV, what a sum over elements makes of the energies: totals are large numbers of small differences."""
    numbers = torch.unique(structures.species)
    cells = structures.batch * len(numbers) + torch.searchsorted(numbers, structures.species)
    counts = torch.bincount(cells, minlength=len(structures) * len(numbers)).view(len(structures), -1).double()
    known = torch.isfinite(energies)
    # of one composition there is a family of solutions, and this driver gives the smallest
    fit = torch.linalg.lstsq(counts[known], energies[known][:, None], driver="gelsd").solution
    return (counts @ fit)[:, 0]


def _plot(title: str, unit: str, reference: Tensor, predicted: Tensor) -> Pairs:
    reference, predicted = reference.reshape(-1), predicted.reshape(-1)
    known = torch.isfinite(reference) & torch.isfinite(predicted)
    return Pairs(title, unit, reference[known].numpy(), predicted[known].numpy())


def _figure(pairs: Pairs) -> str:
    if not len(pairs.reference):
        return ""
    caption = (
        f"<figcaption><b>{escape(pairs.title)}, {escape(pairs.unit)}</b> n = {len(pairs.reference):,}</figcaption>"
    )
    return f"<figure>{caption}{scatter(pairs)}</figure>"


def _table(evaluation: Evaluation) -> str:
    head = "<th><th class=n>RMSE<th class=n>95 % interval<th class=n>MAE<th class=n>95 % interval<th>Unit<th class=n>n"
    head += "<th class=n>Largest<th class=n>in structure"
    rows = "".join(map(_row, evaluation.errors))
    return f'<div class="scroll"><table><thead><tr>{head}<tbody>{rows}</table></div>'


def _row(errors: LabelErrors) -> str:
    unit, factor = shown_unit(errors.unit)

    def cells(measured: Measured) -> str:
        ends = "–"
        if measured.low is not None and measured.high is not None:
            ends = f"{factor * measured.low:.4g} to {factor * measured.high:.4g}"
        return f"<td class=n><b>{factor * measured.value:.4g}</b><td class=n>{ends}"

    return (
        f"<tr><th>{escape(errors.title)}{cells(errors.rmse)}{cells(errors.mae)}<td>{escape(unit)}"
        f"<td class=n>{errors.rmse.n:,}<td class=n>{factor * errors.largest:.4g}<td class=n>{errors.structure}"
    )


def _worst(evaluation: Evaluation) -> str:
    """The structures with the largest errors of forces, or of energies where there are no forces."""
    structures, predictions = evaluation.structures, evaluation.predictions
    energy, forces = _errors(evaluation, "energy"), _errors(evaluation, "forces")
    if forces is not None:
        components = forces.abs().amax(1).nan_to_num(-1.0)
        lowest = components.new_full((len(structures),), -1.0)
        rank = lowest.scatter_reduce(0, structures.batch, components, "amax")
    elif energy is not None:
        rank = (energy.abs() / structures.n_atoms).nan_to_num(-1.0)
    else:
        return '<p class="note">There are neither forces nor energies.</p>'
    head = "<th>Structure<th>Formula<th class=n>Energy error, meV/atom"
    head += "<th class=n>Largest error of a force component, meV/Å" if "forces" in predictions else ""
    rows = []
    for index in rank.argsort(descending=True)[:_WORST].tolist():
        own = structures.select([index])
        shown = "–"
        if energy is not None and torch.isfinite(energy[index]):
            shown = f"{1e3 * float(energy[index] / structures.n_atoms[index]):+.2f}"
        cells = f"<td class=n>{shown}"
        if forces is not None:
            cells += f"<td class=n>{1e3 * float(rank[index]):.1f}" if rank[index] >= 0 else "<td class=n>–"
        rows.append(f"<tr><th>{int(evaluation.numbers[index])}<td>{own.formulas()[0]}{cells}")
    return f'<div class="scroll"><table><thead><tr>{head}<tbody>{"".join(rows)}</table></div>'


def _errors(evaluation: Evaluation, label: str) -> Tensor | None:
    labels = evaluation.structures.atom_labels if label in ATOM_LABELS else evaluation.structures.structure_labels
    if label not in evaluation.predictions or label not in labels:
        return None
    return evaluation.predictions[label] - labels[label].to(torch.float64)


def _facts(evaluation: Evaluation) -> dict[str, str]:
    facts = {
        "model": evaluation.model,
        "sha256 of its tensors": ", ".join(evaluation.tensors_sha256) or "none: in memory",
        "data": evaluation.source,
        "computed": f"on {evaluation.device} in {evaluation.dtype}, {evaluation.seconds:.1f} s",
    }
    if evaluation.energy_shift is not None:
        facts["mean error of energies"] = f"{1e3 * evaluation.energy_shift:+.3f} meV/atom"
    return facts | {f"note {number}": note for number, note in enumerate(evaluation.notes, 1)}
