"""The page as text: self-contained, escaped, bounded, honest about what it leaves out."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from molgen.errors import OutputError, StructureError
from molgen.report import Histogram, page, write_report
from molgen.structures import Structures, concatenate

from .conftest import BROKEN, SMILES, Measured

ASKS = {"src", "href", "srcset", "action", "formaction", "poster", "background", "xlink:href", "data", "ping"}
LIMIT = 8_000_000  # bytes


class Parsed(HTMLParser):
    """Tags with their attributes, scripts with their content, and the text in between."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.styles: list[str] = []
        self.text = ""
        self._inside = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._inside = tag
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag):
        self._inside = ""

    def handle_data(self, data):
        if self._inside == "script":
            self.scripts[-1] += data
        elif self._inside == "style":
            self.styles.append(data)
        else:
            self.text += data

    def data(self) -> dict:
        return json.loads(self.scripts[0])


@pytest.fixture(scope="module")
def written(make_report, tmp_path_factory) -> Parsed:
    path = tmp_path_factory.mktemp("report") / "report.html"
    write_report(path, make_report())
    return Parsed(path.read_text())


@pytest.fixture
def light(monkeypatch):
    """A page without the viewer's three megabytes, for tests that look at the rest."""
    monkeypatch.setattr(page, "_chemiscope", lambda: "")


def test_nothing_in_the_page_asks_for_anything_outside_it(written):
    asked = {value for _, attributes in written.tags for name, value in attributes.items() if name in ASKS}
    assert asked
    assert all(value.startswith(("#", "data:")) for value in asked)
    assert not re.search(r"url\(|@import", "".join(written.styles))


def test_the_policy_names_the_two_scripts_and_nothing_else(written):
    policy = next(a["content"] for tag, a in written.tags if a.get("http-equiv") == "Content-Security-Policy")
    directives = dict(part.strip().split(" ", 1) for part in policy.split(";"))
    hashes = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in written.scripts[1:]]
    assert len(hashes) == 2
    assert directives["default-src"] == "'none'"
    assert directives["script-src"].split() == [f"'sha256-{value}'" for value in hashes]
    assert "connect-src" not in directives
    assert "http" not in policy


def test_the_page_says_what_it_was_given(written):
    figures = ("80.0 %", "37.6 to 96.4 %", "97.7 %", "Strain, median", "0.25 eV")
    for expected in ("Five molecules", "QM9", "qm9-egnn", *figures):
        assert expected in written.text
    assert "All 5, in the order of generation" in written.text
    assert "bonds can't be perceived 1" in written.text


def test_every_molecule_has_a_drawing_and_those_that_passed_most_stand_in_front(written):
    order = written.data()["order"]
    assert sorted(order) == list(range(len(SMILES)))
    assert order == [0, 2, 4, 1, BROKEN]
    drawings = [a["href"] for tag, a in written.tags if a.get("class") == "drawing"]
    assert drawings == [f"#molecule-{index}" for index in order]


def test_the_viewer_gets_coordinates_bonds_and_finite_properties(written, molecules):
    shown = written.data()["molecules"]
    phenol = shown["0"]["structure"]
    positions = molecules.select([0]).positions
    assert phenol["names"][:7] == ["C", "C", "C", "C", "C", "C", "O"]
    assert len(phenol["bonds"]) == 13
    assert phenol["x"] == pytest.approx((positions - positions.mean(0))[:, 0].tolist(), abs=1e-3)
    assert "bonds" not in shown[str(BROKEN)]["structure"]
    assert [shown[str(i)]["properties"] for i in (0, 1, 2)] == [[["energy (eV)", "-1.5"]], [], []]


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(max_size=20).map(lambda text: f"</script></style></title><!--<script>x\"'&{text}<img src=http://x>"))
def test_text_from_outside_never_becomes_markup(light, make_report, hostile):
    n = len(SMILES)

    def tags(text):
        report = make_report(
            title=text,
            subtitle=text,
            smiles=["O", text, *SMILES[2:]],
            flags={text: [True] * n},
            reasons=[text, *[None] * (n - 1)],
            properties={text: [1.0] * n},
            metrics={text: Measured(0.5, 0.4, 0.6, 5)},
            reference={text: Measured(0.5, 0.4, 0.6, 5)},
            reference_name=text,
            histograms=[Histogram(text, {text: 1}, text, reference={text: 2})],
            provenance={text: text},
        )
        parsed = Parsed(page._page(report))
        assert parsed.data()["molecules"]["0"]["reason"] == text
        return [tag for tag, _ in parsed.tags]

    assert tags(hostile) == tags("harmless")


def test_text_that_is_no_unicode_is_replaced(light, make_report, tmp_path):
    write_report(tmp_path / "report.html", make_report(title="a\udcffb"))
    assert "<title>a?b</title>" in (tmp_path / "report.html").read_text()


def test_the_gallery_shows_the_first_molecules_not_the_best(light, make_report):
    parsed = Parsed(page._page(make_report(gallery=2)))
    assert sorted(parsed.data()["order"]) == [0, 1]
    assert "The first 2 of 5" in parsed.text
    links = [a.get("href") for _, a in parsed.tags]
    assert f"#molecule-{BROKEN}" not in links  # listed among the failures, but not to be selected


def test_molecules_are_called_by_their_number_in_the_run(light, make_report):
    parsed = Parsed(page._page(make_report(indices=[10, 11, 12, 13, 14])))
    assert [m["number"] for m in parsed.data()["molecules"].values()] == [10, 12, 14, 11, 13]
    assert 'title="molecule 10, C6H6O"' in page._page(make_report(indices=[10, 11, 12, 13, 14]))


def test_a_thousand_molecules_make_a_page_of_bounded_size(make_report, molecules, tmp_path):
    n = 200 * len(SMILES)
    many = {
        "structures": concatenate([molecules] * 200),
        "smiles": list(SMILES) * 200,
        "flags": {"valid": [True] * n},
        "reasons": [f"reason {k}" for k in range(n)],
        "properties": {},
    }
    write_report(tmp_path / "report.html", make_report(**many))
    assert (tmp_path / "report.html").stat().st_size < LIMIT
    assert "970 rarer reasons" in (tmp_path / "report.html").read_text()


def test_a_report_of_nothing_is_still_a_page(light, tmp_path):
    from molgen.report import Report

    nothing = Structures.build([], [], n_atoms=[])
    write_report(tmp_path / "report.html", Report("Nothing", nothing))
    text = Parsed((tmp_path / "report.html").read_text()).text
    assert "All 0" in text
    assert "Nothing was measured" in text


def test_coordinates_that_are_not_finite_are_kept_out(light, make_report, molecules):
    lost = molecules.replace(positions=molecules.positions * float("nan"))
    assert Parsed(page._page(make_report(structures=lost))).data()["molecules"]["0"]["structure"]["x"][0] == 0.0


def test_without_chemiscope_the_page_keeps_its_drawings(light, make_report):
    text = page._page(make_report())
    assert len(text) < 200_000
    assert text.count('class="drawing"') == len(SMILES)


def test_relaxed_structures_stand_behind_those_that_were_drawn(light, make_report, molecules):
    moved = molecules.replace(positions=2 * molecules.positions)
    reasons = [None, "not converged", None, "not converged", None]
    parsed = Parsed(page._page(make_report(relaxed=moved, relaxed_reasons=reasons)))
    drawn, relaxed = parsed.data()["molecules"]["1"]["structure"], parsed.data()["relaxed"]["1"]
    assert relaxed["x"] == pytest.approx([2 * x for x in drawn["x"]], abs=2e-3)
    assert relaxed["names"] == drawn["names"]
    assert "Not relaxed:" in parsed.text
    assert "not converged 2" in parsed.text


def test_a_page_without_relaxation_says_nothing_of_it(light, make_report):
    parsed = Parsed(page._page(make_report()))
    assert "relaxed" not in parsed.data()
    assert "Not relaxed" not in parsed.text
    (button,) = [a for tag, a in parsed.tags if a.get("id") == "relaxed"]
    assert "hidden" in button


def test_metrics_that_are_no_fractions_have_their_unit(light, make_report):
    text = Parsed(page._page(make_report())).text
    assert "Strain, median" in text
    assert "0.25 eV" in text
    assert "0.2 to 0.3 eV" in text


def test_relaxed_structures_must_be_as_many(make_report, molecules):
    with pytest.raises(StructureError, match="relaxed has 2 entries; expected one per structure, 5"):
        make_report(relaxed=molecules.select([0, 1]))


def test_lists_of_the_wrong_length_are_refused(make_report):
    with pytest.raises(StructureError, match=r"flags\['valid'\] has 2 entries; expected one per structure, 5"):
        make_report(flags={"valid": [True, False]})


def test_a_place_that_cannot_be_written_is_an_output_error(light, make_report, tmp_path):
    with pytest.raises(OutputError, match=r"report\.html"):
        write_report(tmp_path / "missing" / "report.html", make_report())
    assert list(tmp_path.iterdir()) == []


def test_the_template_travels_with_the_package():
    folder = Path(page.__file__).parent
    assert {"page.html", "page.css", "page.js"} <= {path.name for path in folder.iterdir()}
