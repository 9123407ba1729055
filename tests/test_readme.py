"""Every command and every line of Python in the README runs, in the order in which a reader would try them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# make targets install an environment of their own, so they are tried by whoever runs this suite with make
LEFT_TO_MAKE = ("make ", "git clone", "cd ")


def blocks() -> list[tuple[str, str]]:
    """(language, text) of the README's fenced blocks."""
    return re.findall(
        r"^```(\w+)\n(.*?)^```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that looks like the checkout to the commands, in which they may write."""
    folder = tmp_path_factory.mktemp("readme")
    for name in ("data", "scripts", "plugins"):
        (folder / name).symlink_to(ROOT / name)
    return folder


def run(command: list[str] | str, place: Path) -> None:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        command, shell=isinstance(command, str), cwd=place, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"


def test_the_readme_shows_commands_python_and_a_config() -> None:
    assert {"sh", "python", "yaml"} <= {language for language, _ in blocks()}


def test_everything_in_the_readme_runs(place: Path) -> None:
    for language, text in blocks():
        if language == "yaml":
            name = re.match(r"# (\S+\.yaml)", text)
            assert name, "a config in the README begins with its file's name"
            (place / name[1]).write_text(text, encoding="utf-8")
        elif language == "python":
            run([sys.executable, "-c", text], place)
        elif language == "sh":
            for line in text.replace("\\\n", " ").splitlines():
                command = line.split("  #")[0].strip()
                if command and not command.startswith(LEFT_TO_MAKE):
                    run(command, place)


def test_every_file_that_the_readme_links_is_there() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        if "://" not in target:
            assert (ROOT / target).exists(), target


def test_molgen_is_on_the_path() -> None:
    assert shutil.which("molgen", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
