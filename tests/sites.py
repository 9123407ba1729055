"""A folder on the import path into which tests put distributions, laid out as pip would."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

HEADER = "from molgen.host.component import Capabilities, Component, hookimpl\n"


@dataclass
class Site:
    """A folder of installed distributions, first on the import path."""

    path: Path
    packages: list[str] = field(default_factory=list)

    def add(
        self,
        distribution: str,
        plugin: str,
        *,
        version: str = "1.0",
        entry_points: str | None = None,
        metadata: str | None = None,
        modules: Mapping[str, str] | None = None,
    ) -> None:
        """Install a distribution.

        Args:
            distribution: its name, like "fake-good"; its package is then fake_good.
            plugin: source of the package's module `plugin`, to which its entry point leads.
            version: of the distribution.
            entry_points: content of entry_points.txt; by default one of group `molgen` called "good".
            metadata: content of METADATA.
            modules: sources of further modules of its package.
        """
        package = distribution.replace("-", "_")
        self.packages.append(package)
        folder = self.path / package
        folder.mkdir()
        for name, source in {"__init__": "", "plugin": HEADER + plugin, **(modules or {})}.items():
            (folder / f"{name}.py").write_text(source)
        if metadata is None:
            metadata = f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n"
        if entry_points is None:
            entry_points = f"[molgen]\n{package.removeprefix('fake_')} = {package}.plugin\n"
        info = self.path / f"{package}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(metadata)
        (info / "entry_points.txt").write_text(entry_points)

    @staticmethod
    def hook(kind: str, *names: str, **fields: object) -> str:
        """Source of a hook that registers components; `fields` are those of all of them."""
        fields = {"summary": "a test", "factory": "pathlib:Path"} | fields
        rest = ", ".join(f"{name}={value!r}" for name, value in fields.items())
        lines = [f"    register(Component(name={name!r}, {rest}))" for name in names]
        return "\n".join(["@hookimpl", f"def molgen_register_{kind}s(register):", *lines, ""])

    def forget(self) -> None:
        """Take its packages out of this process."""
        for name in list(sys.modules):
            if name.partition(".")[0] in self.packages:
                del sys.modules[name]


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """Distributions that are installed for one test."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    site = Site(folder)
    yield site
    site.forget()
