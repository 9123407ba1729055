"""The page in a real browser: molecules are drawn, turn, and nothing is asked from the network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from molgen.report import write_report

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def page(make_report, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("report") / "report.html"
    write_report(path, make_report())
    return path


@pytest.fixture(scope="module")
def opened(browser, page):
    """The page, open; the tests that share it leave it in no set state."""
    browser.open(page)
    return browser


def drawn(picture: np.ndarray) -> float:
    """The share of pixels that differ from the smooth backdrop, whose colour in each row is that of the left edge."""
    return float((np.abs(picture.astype(int) - picture[:, :1]).max(-1) > 60).mean())


def reds(picture: np.ndarray) -> int:
    """Pixels of oxygen."""
    red, green, blue = (picture[..., k].astype(int) for k in range(3))
    return int(((red > 120) & (red > 3 * green) & (red > 3 * blue)).sum())


@pytest.mark.parametrize("dark", [False, True])
def test_molecules_are_drawn_in_three_dimensions_and_nothing_is_asked_from_the_network(browser, page, dark):
    assert browser.open(page, dark=dark) == "ready"
    picture = browser.picture("#viewer")
    assert drawn(picture) > 0.02
    assert reds(picture) > 50  # the oxygen of phenol
    assert browser.complaints() == []
    # nothing is asked for but the page itself
    assert [url for url in browser.requests() if not url.startswith(("data:", "blob:"))] == [page.resolve().as_uri()]


def test_the_page_forbids_itself_the_network(opened):
    blocked = opened.evaluate(
        "new Promise(r => { addEventListener('securitypolicyviolation', e => r(e.violatedDirective));"
        "fetch('http://127.0.0.1:9/').catch(() => 0) })"
    )
    assert blocked == "connect-src"


def test_scripts_that_slip_into_the_page_do_not_run(opened):
    opened.evaluate("document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"window.slipped = 1\">')")
    opened.evaluate("document.body.append(Object.assign(document.createElement('script'), {text: 'slipped = 1'}))")
    assert opened.evaluate("new Promise(r => setTimeout(() => r(window.slipped ?? 'stopped'), 200))") == "stopped"


def test_a_molecule_turns_with_the_mouse(opened):
    before = opened.picture("#viewer")
    assert np.array_equal(before, opened.picture("#viewer"))
    opened.drag("#viewer", right=120, down=40)
    after = opened.picture("#viewer")
    assert drawn(after) > 0.01
    assert (before != after).any(-1).mean() > 0.01


def test_a_click_on_a_drawing_shows_that_molecule(opened):
    before = opened.picture("#viewer")
    opened.evaluate("document.querySelector('.drawing[href=\"#molecule-2\"]').click()")
    opened.wait_for("document.querySelector('#caption h3').textContent.startsWith('C₂H₅NO')")
    after = opened.picture("#viewer")
    assert drawn(after) > 0.01
    assert (before != after).any(-1).mean() > 0.02
    assert opened.evaluate("document.querySelectorAll('.drawing[aria-current]').length") == 1


def test_the_failed_molecule_is_shown_with_its_reason(opened):
    opened.evaluate("document.querySelector('[data-mark=failed]').click()")
    assert opened.evaluate("document.querySelectorAll('.drawing:not([hidden])').length") == 1
    opened.press("ArrowRight")
    opened.wait_for("document.querySelector('#caption .reason')?.textContent === \"bonds can't be perceived\"")
    assert drawn(opened.picture("#viewer")) > 0.01


def test_a_button_shows_the_relaxed_structure_as_the_other_was_turned(browser, make_report, molecules, tmp_path):
    stretched = molecules.replace(positions=molecules.positions * torch.tensor([1.0, 1.0, 2.5]))
    write_report(tmp_path / "report.html", make_report(relaxed=stretched))
    assert browser.open(tmp_path / "report.html") == "ready"
    browser.drag("#viewer", right=80, down=30)
    drawn_one = browser.picture("#viewer")
    button = "document.getElementById('relaxed')"
    browser.evaluate(f"{button}.click()")
    relaxed_one = browser.picture("#viewer")
    assert (drawn_one != relaxed_one).any(-1).mean() > 0.01
    browser.evaluate(f"{button}.click()")
    browser.wait_for(f"{button}.getAttribute('aria-pressed') === 'false'")
    assert np.abs(browser.picture("#viewer").astype(int) - drawn_one).max(-1).mean() < 1
    assert browser.complaints() == []


def test_a_phone_shows_all_without_scrolling_sideways(browser, page):
    assert browser.open(page, width=360) == "ready"
    assert browser.evaluate("document.documentElement.scrollWidth") == 360
    assert drawn(browser.picture("#viewer")) > 0.02


def test_without_webgl_the_drawings_still_work(start_browser, page):
    browser = start_browser("--disable-3d-apis")
    assert browser.open(page) == "absent"
    assert "No three-dimensional view here" in browser.evaluate("document.querySelector('#viewer').textContent")
    assert browser.evaluate("document.querySelectorAll('#viewer > svg').length") == 1
    browser.press("ArrowRight")
    browser.wait_for("location.hash && document.querySelectorAll('#viewer > svg').length === 1")
