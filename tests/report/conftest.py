"""Molecules embedded by RDKit, a report of them, and a headless Chromium to open it in."""

from __future__ import annotations

import base64
import fcntl
import io
import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from molgen.conversion import from_rdkit
from molgen.report import Report, beside, distributions
from molgen.structures import Structures, concatenate

SMILES = ("c1ccccc1O", "CCO", "CC(=O)N", "C1CC1C#N", "O")
BROKEN = 3  # the molecule that is shaken until nothing can be perceived


@dataclass(frozen=True)
class Measured:
    value: float
    low: float
    high: float
    n: int


def embedded(smiles: str) -> Structures:
    """One conformer by ETKDG, with its bonds."""
    from rdkit import Chem
    from rdkit.Chem import AllChem

    molecule = Chem.AddHs(Chem.MolFromSmiles(smiles))
    assert AllChem.EmbedMolecule(molecule, randomSeed=7) == 0
    return from_rdkit(molecule)


@pytest.fixture(scope="session")
def molecules() -> Structures:
    parts = [embedded(smiles) for smiles in SMILES]
    lost = parts[BROKEN]
    generator = torch.Generator().manual_seed(0)
    shaken = lost.positions + 0.5 * torch.randn(lost.positions.shape, generator=generator, dtype=torch.float64)
    parts[BROKEN] = lost.replace(
        positions=shaken, bonds=lost.bonds[:0], bond_orders=lost.bond_orders[:0], bonds_known=torch.tensor([False])
    )
    return concatenate(parts)


@pytest.fixture(scope="session")
def make_report(molecules: Structures) -> Callable[..., Report]:
    """A report of five molecules of which one failed; any field can be given another value."""
    fine = [index != BROKEN for index in range(len(SMILES))]

    def make(**changes: Any) -> Report:
        given: dict[str, Any] = {
            "title": "Five molecules",
            "structures": molecules,
            "smiles": [smiles if ok else None for smiles, ok in zip(SMILES, fine, strict=True)],
            "flags": {"valid": fine, "stable": [True, False, *fine[2:]]},
            "reasons": [None if ok else "bonds can't be perceived" for ok in fine],
            "properties": {"energy (eV)": [-1.5, None, float("nan"), 0.0, 2.0]},
            "metrics": {"validity": Measured(0.8, 0.376, 0.964, 5), "strain": Measured(0.25, 0.2, 0.3, 5)},
            "reference": {"validity": Measured(0.977, 0.97, 0.98, 1000)},
            "reference_name": "QM9",
            "histograms": beside(distributions(molecules), distributions(embedded("CCO"))),
            "provenance": {"Model": "qm9-egnn", "Seed": "0"},
        }
        return Report(**(given | changes))

    return make


class Browser:
    """A headless Chromium that is spoken to through two pipes (Chrome DevTools Protocol), without any library."""

    def __init__(self, command: str, profile: Path, *flags: str) -> None:
        ours_in, theirs_out = os.pipe()
        theirs_in, ours_out = os.pipe()
        # Chromium reads commands from descriptor 3 and answers on 4; high numbers first, so that none is overwritten
        high_in, high_out = (fcntl.fcntl(fd, fcntl.F_DUPFD, 20) for fd in (theirs_in, theirs_out))
        os.close(theirs_in)
        os.close(theirs_out)
        quiet = "--headless=new --no-sandbox --disable-gpu --enable-unsafe-swiftshader --disable-background-networking"
        quiet += " --disable-component-update --disable-sync --no-first-run --disable-dev-shm-usage --hide-scrollbars"
        arguments = [*quiet.split(), *flags, f"--user-data-dir={profile}", "--remote-debugging-pipe", "about:blank"]

        def connect() -> None:
            os.dup2(high_in, 3)
            os.dup2(high_out, 4)

        self._process = subprocess.Popen(
            [command, *arguments],
            preexec_fn=connect,
            close_fds=False,  # Python's own descriptors close themselves
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(high_in)
        os.close(high_out)
        self._in, self._out = os.fdopen(ours_in, "rb", buffering=0), os.fdopen(ours_out, "wb", buffering=0)
        self._buffer, self._number, self._session, self.events = b"", 0, None, []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> dict:
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        self._out.write(json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == self._number:
                assert "error" not in answer, answer["error"]
                return answer["result"]
            self.events.append(answer)

    def _read(self) -> dict:
        while b"\0" not in self._buffer:
            block = self._in.read(1 << 20)
            assert block, "the browser ended"
            self._buffer += block
        message, self._buffer = self._buffer.split(b"\0", 1)
        return json.loads(message)

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression in the page; promises are awaited."""
        result = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def wait_for(self, expression: str) -> Any:
        deadline = time.monotonic() + 30
        while not (value := self.evaluate(expression)):
            assert time.monotonic() < deadline, f"waited in vain for {expression}"
            time.sleep(0.05)
        return value

    def open(self, page: Path, *, width: int = 1280, dark: bool = False) -> str:
        """Open a page; what it says of its three-dimensional view, "ready" or "absent"."""
        self.events.clear()
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.call("Page.navigate", url=page.resolve().as_uri())
        return self.wait_for("document.documentElement?.dataset.viewer")

    def complaints(self) -> list[str]:
        """Errors of the console and exceptions since the page was opened."""
        logged = [e["params"]["entry"] for e in self.events if e["method"] == "Log.entryAdded"]
        found = [f"{entry['source']}: {entry['text']}" for entry in logged if entry["level"] == "error"]
        thrown = [e["params"] for e in self.events if e["method"] == "Runtime.exceptionThrown"]
        called = [e["params"] for e in self.events if e["method"] == "Runtime.consoleAPICalled"]
        return found + [str(p) for p in thrown] + [str(p) for p in called if p["type"] in ("error", "warning")]

    def requests(self) -> list[str]:
        return [e["params"]["request"]["url"] for e in self.events if e["method"] == "Network.requestWillBeSent"]

    def picture(self, selector: str) -> np.ndarray:
        """[height, width, 3] uint8, what the screen shows of an element."""
        from PIL import Image

        self.evaluate(f"document.querySelector('{selector}').scrollIntoView({{block: 'center'}})")
        # two frames later the drawing of now is on the screen
        self.evaluate("new Promise(r => requestAnimationFrame(() => requestAnimationFrame(() => r(1))))")
        png = base64.b64decode(self.call("Page.captureScreenshot", clip=self._place(selector, page=True))["data"])
        return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))

    def _place(self, selector: str, *, page: bool) -> dict[str, float]:
        box = self.evaluate(f"JSON.stringify(document.querySelector('{selector}').getBoundingClientRect())")
        x, y, width, height = (json.loads(box)[key] for key in ("x", "y", "width", "height"))
        top = self.evaluate("scrollY") if page else 0
        return {"x": x, "y": y + top, "width": width, "height": height, "scale": 1}

    def drag(self, selector: str, right: float, down: float) -> None:
        """Press the mouse in the middle of an element, move it, release it."""
        place = self._place(selector, page=False)
        x, y = place["x"] + place["width"] / 2, place["y"] + place["height"] / 2
        held = {"button": "left", "buttons": 1, "clickCount": 1}
        self.call("Input.dispatchMouseEvent", type="mousePressed", x=x, y=y, **held)
        for part in (0.25, 0.5, 0.75, 1):
            self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x + part * right, y=y + part * down, **held)
        self.call(
            "Input.dispatchMouseEvent", type="mouseReleased", x=x + right, y=y + down, button="left", clickCount=1
        )

    def press(self, key: str) -> None:
        self.call("Input.dispatchKeyEvent", type="keyDown", key=key, code=key)

    def close(self) -> None:
        self._session = None
        self.call("Browser.close")
        self._in.close()
        self._out.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


@pytest.fixture(scope="session")
def start_browser(chromium: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Browser]]:
    started: list[Browser] = []

    def start(*flags: str) -> Browser:
        started.append(Browser(chromium, tmp_path_factory.mktemp("profile"), *flags))
        return started[-1]

    yield start
    for browser in started:
        browser.close()


@pytest.fixture(scope="session")
def browser(start_browser: Callable[..., Browser]) -> Browser:
    return start_browser()
