"""The parts of the page that are numbers and words: metrics, failures, provenance."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

from molgen.chemistry.control import CONTROL_METRICS
from molgen.chemistry.metrics import METRICS
from molgen.chemistry.strain import RELAXATION_METRICS
from molgen.report.content import Estimate, Report
from molgen.report.plots import histogram, interval

__all__ = ["failures", "headlines", "histograms", "metrics", "provenance"]

# what a reader calls it; these are fractions, and shown per cent
FRACTIONS = {
    "d1_atom_stability": "Stable atoms, D1",
    "d1_molecule_stability": "Stable molecules, D1",
    "d2_atom_stability": "Stable atoms, D2",
    "d2_molecule_stability": "Stable molecules, D2",
    "validity": "Valid",
    "connected_validity": "Valid and connected",
    "uniqueness": "Unique",
    "novelty": "Novel",
    "posebusters": "PoseBusters",
    "relaxed": "Relaxed",
    "kept_bonds": "Bonds kept in relaxation",
    "composition_kept": "Composition as asked for",
    "scaffold_kept": "Substructure as given",
}
# and these are not
QUANTITIES = {
    "strain": ("Strain, median", "eV"),
    "strain_mean": ("Strain, mean", "eV"),
    "relax_rmsd": ("RMSD to relaxed, median", "Å"),
    "bond_length_w1": ("Bond lengths, W1", "Å"),
    "angle_w1": ("Angles, W1", "°"),
    "torsion_w1": ("Torsions, W1", "°"),
}
SUMMARIES = (
    {each.name: each.summary for each in METRICS}
    | {each.name: each.summary for each in RELAXATION_METRICS}
    | {each.name: each.summary for each in CONTROL_METRICS}
)
HEADLINES = ("d1_atom_stability", "d1_molecule_stability", "connected_validity", "uniqueness", "strain")
MAX_REASONS = 30  # told apart; rarer ones are counted together
MAX_LISTED = 60  # molecules listed per reason


def headlines(report: Report) -> str:
    """The few numbers that are read first."""
    tiles = []
    for name in HEADLINES:
        if name not in report.metrics:
            continue
        measured, reference = report.metrics[name], report.reference.get(name)
        beside = f"{escape(report.reference_name)} {_number(name, reference.value)}" if reference else "&nbsp;"
        tiles.append(
            f'<div class="tile"><span>{_label(name)}</span><strong>{_number(name, measured.value)}</strong>'
            f"<small>{beside}</small></div>"
        )
    return "".join(tiles)


def metrics(report: Report) -> str:
    """The table of metrics: value, interval, count, and the reference's own value."""
    if not report.metrics:
        return '<p class="note">Nothing was measured.</p>'
    beside = f"<th class=n>{escape(report.reference_name)}" if report.reference else ""
    head = f"<th>Metric<th class=n>Value{beside}<th class=n>95 % interval<th class=n>n"
    rows = "".join(_row(name, measured, report) for name, measured in report.metrics.items())
    return f'<div class="scroll"><table><thead><tr>{head}<th class="plot">0 to 100 %<tbody>{rows}</table></div>'


def _row(name: str, measured: Estimate, report: Report) -> str:
    meaning = SUMMARIES.get(name, "")
    reference = report.reference.get(name)
    ends = (
        "–"
        if measured.low is None or measured.high is None
        else f"{_number(name, measured.low, unit=False)} to {_number(name, measured.high)}"
    )
    cells = f"<td class=n><b>{_number(name, measured.value)}</b>"
    if report.reference:
        cells += f"<td class=n>{_number(name, reference.value) if reference else '–'}"
    cells += f"<td class=n>{ends}<td class=n>{_count(measured.n)}"
    plot = interval(measured, reference) if name in FRACTIONS else ""
    return f"<tr><th>{escape(_label(name))}<small>{escape(meaning)}</small>{cells}<td class=plot>{plot}"


def histograms(report: Report) -> str:
    """One figure per histogram, with the number of counts and the overlap with the data."""
    figures = []
    for h in report.histograms:
        overlap = h.overlap()
        facts = [f"n = {_count(sum(h.counts.values()))}"]
        facts += [f"overlap {100 * overlap:.0f} %"] if overlap is not None else []
        unit = f", {h.unit}" if h.unit else ""
        caption = f"<figcaption><b>{escape(h.title + unit)}</b> {' · '.join(facts)}</figcaption>"
        figures.append(f"<figure>{caption}{histogram(h)}</figure>")
    return "".join(figures)


def failures(report: Report) -> str:
    """Every reason with the molecules it struck, the most frequent first; those of relaxation stand apart."""
    text = _reasons(report.reasons, report) or '<p class="note">No molecule failed.</p>'
    if report.relaxed is None:
        return text
    beside = _reasons(report.relaxed_reasons, report)
    return f'{text}<p class="note">Not relaxed{":" if beside else ": none"}</p>{beside}'


def _reasons(reasons: Sequence[str | None], report: Report) -> str:
    struck: dict[str, list[int]] = {}
    for index, reason in enumerate(reasons):
        if reason is not None:
            struck.setdefault(reason, []).append(index)
    ranked = sorted(struck.items(), key=lambda item: -len(item[1]))
    if len(ranked) > MAX_REASONS:
        rest = sorted(index for _, indices in ranked[MAX_REASONS:] for index in indices)
        ranked = [*ranked[:MAX_REASONS], (f"{_count(len(ranked) - MAX_REASONS)} rarer reasons", rest)]
    return "".join(_struck(reason, indices, report) for reason, indices in ranked)


def _struck(reason: str, indices: list[int], report: Report) -> str:
    listed = []
    for index in indices[:MAX_LISTED]:
        number = int(report.indices[index])
        listed.append(
            f'<a href="#molecule-{index}">{number}</a>' if index < report.gallery else f"<span>{number}</span>"
        )
    rest = f" and {_count(len(indices) - MAX_LISTED)} more" if len(indices) > MAX_LISTED else ""
    summary = f"<summary>{escape(reason)} <b>{_count(len(indices))}</b></summary>"
    return f'<details>{summary}<p class="indices">{" ".join(listed)}{rest}</p></details>'


def provenance(facts: Mapping[str, str]) -> str:
    """Where the molecules came from, as pairs of a name and a value."""
    return "".join(f"<div><dt>{escape(str(name))}<dd>{escape(str(value))}</div>" for name, value in facts.items())


def _label(name: str) -> str:
    return FRACTIONS.get(name) or QUANTITIES.get(name, (name.replace("_", " "), ""))[0]


def _number(name: str, value: float, *, unit: bool = True) -> str:
    if math.isnan(value):
        return "–"
    if name in FRACTIONS:
        return f"{100 * value:.1f}" + (" %" if unit else "")
    if name in QUANTITIES:
        return f"{value:.3g}" + (f" {QUANTITIES[name][1]}" if unit else "")
    return f"{value:.4g}"


def _count(n: int) -> str:
    return f"{n:,}".replace(",", "\u202f")
