"""The page of a comparison stands alone, and its curves are where their numbers are."""

from __future__ import annotations

import re
from pathlib import Path

from molgen.chemistry.intervals import fraction
from molgen.report.comparison_page import ComparisonReport, Quality, write_comparison_report
from molgen.report.curves import COLOURS, curves

LINES = {"one": [(10.0, fraction(2, 10)), (100.0, fraction(9, 10))], "two": [(50.0, fraction(5, 10))]}


def places(drawn: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in re.findall(r'cx="([\d.]+)" cy="([\d.]+)"', drawn)]


def test_a_curve_rises_with_the_quality_along_the_logarithm_of_the_cost() -> None:
    first, last, middle = places(curves("valid", "evaluations", LINES))
    assert first[0] < middle[0] < last[0]
    assert first[1] > middle[1] > last[1]
    assert 0.65 < (middle[0] - first[0]) / (last[0] - first[0]) < 0.75  # ln 5 / ln 10


def test_every_line_has_its_colour_and_every_point_its_interval() -> None:
    drawn = curves("valid", "evaluations", LINES, fraction(98, 100))
    assert drawn.count('<polyline class="line c0"') == drawn.count('<polyline class="line c1"') == 1
    assert drawn.count('<path class="line') == 3
    assert drawn.count('class="ideal"') == 1
    assert "one, 100: 90.0 % (59.6 % to 98.2 %)" in drawn


def test_lines_beyond_the_colours_begin_again() -> None:
    many = {str(k): [(1.0, fraction(1, 2))] for k in range(COLOURS + 1)}
    assert curves("valid", "evaluations", many).count('<polyline class="line c0"') == 2


def test_nothing_and_one_cost_alone_are_drawn() -> None:
    assert curves("valid", "evaluations", {"one": []}) == ""
    ((x, _),) = places(curves("valid", "evaluations", {"one": [(7.0, fraction(1, 2))]}))
    assert 34 < x < 310


def test_the_page_asks_for_nothing_and_what_comes_from_outside_is_escaped(tmp_path: Path) -> None:
    strange = {"<script>alert(1)</script>": LINES["one"]}
    report = ComparisonReport(
        title="Samplers of <b>",
        subtitle="10 molecules",
        cost="evaluations",
        qualities=[Quality("Valid", strange, fraction(98, 100))],
        head=("sampler", "valid"),
        rows=[("<i>", "50")],
        provenance={"Model": "<u>"},
    )
    write_comparison_report(tmp_path / "report.html", report)
    page = (tmp_path / "report.html").read_text()
    assert not re.findall(r"(?:src|href)=[\"'](?!data:)", page)
    for tag in ("<script", "<b>.", "<i>", "<u>"):
        assert tag not in page
    assert "default-src 'none'" in page
    assert "dashed: training data" in page
