"""The house stands: a room imports from lower floors only, plugins from what is made for them, and files stay short."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import molgen

ROOT = Path(__file__).parents[1]
SOURCES = sorted(ROOT.glob("molgen/**/*.py"))
PLUGINS = sorted(path for path in ROOT.glob("plugins/*/*/**/*.py") if "build" not in path.parts)

# The lowest first; rooms of one floor don't import each other.
FLOORS = [
    {"errors"},
    {"elements", "atomic", "allocation", "interruption"},
    {"random"},
    {"structures"},
    {"conversion"},
    {"neighbors"},
    {"nn"},
    {"chemistry"},
    {"interfaces"},
    {"host"},
    {"data"},
    {"models"},
    {"simulation"},
    {"evaluation"},
    {"report"},
    {"generation"},
    {"certify"},
    {"training"},
    {"cli"},
]
HEIGHT = {room: height for height, rooms in enumerate(FLOORS) for room in rooms}
FOR_PLUGINS = {"errors", "elements", "random", "structures", "neighbors", "nn", "chemistry", "interfaces"}

PUBLIC = [
    "Calculator",
    "Structures",
    "__version__",
    "build",
    "evaluate",
    "from_ase",
    "from_rdkit",
    "load",
    "plugins",
    "relax",
    "run_md",
    "score",
    "to_ase",
    "to_rdkit",
    "train",
]
HEAVY = {"torch", "e3nn", "rdkit", "ase", "numpy", "scipy", "matplotlib", "lightning_fabric", "vesin", "typer"}


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Line and full dotted name of everything that a file imports, inside functions too."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno} imports relatively"
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def room_of(path: Path) -> str:
    return path.relative_to(ROOT / "molgen").parts[0].removesuffix(".py")


def ids(paths: list[Path]) -> list[str]:
    return [str(path.relative_to(ROOT)) for path in paths]


ROOMS = [path for path in SOURCES if path != ROOT / "molgen/__init__.py"]


@pytest.mark.parametrize("path", ROOMS, ids=ids(ROOMS))
def test_a_room_imports_from_lower_floors_only(path):
    room = room_of(path)
    for line, name in imports(path):
        package, _, rest = name.partition(".")
        other = rest.partition(".")[0]
        if package != "molgen" or other in (room, "__version__"):
            continue
        place = f"{path.relative_to(ROOT)}:{line} imports {name}"
        if room == "testing":
            assert other != "cli", place
        else:
            assert other in HEIGHT, place
            assert HEIGHT[other] < HEIGHT[room], place


def test_every_room_has_its_floor():
    assert {room_of(path) for path in ROOMS} <= HEIGHT.keys() | {"testing"}


def test_the_host_and_its_house_import_no_plugin():
    packages = {path.relative_to(ROOT / "plugins").parts[1] for path in PLUGINS}
    for path in SOURCES:
        assert not {name.partition(".")[0] for _, name in imports(path)} & packages, path


@pytest.mark.parametrize("path", PLUGINS, ids=ids(PLUGINS))
def test_a_plugin_imports_only_what_is_made_for_plugins(path):
    packages = {each.relative_to(ROOT / "plugins").parts[1] for each in PLUGINS}
    own = path.relative_to(ROOT / "plugins").parts[1]
    for line, name in imports(path):
        place = f"{path.relative_to(ROOT)}:{line} imports {name}"
        package, _, rest = name.partition(".")
        assert package == own or package not in packages, place
        if package == "molgen" and rest not in ("", "build"):
            assert rest.partition(".")[0] in FOR_PLUGINS or f"{rest}.".startswith("host.component."), place


@pytest.mark.parametrize("path", PLUGINS, ids=ids(PLUGINS))
def test_a_plugin_that_imports_molgen_uses_build_alone(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "molgen":
            assert node.attr == "build", f"{path.relative_to(ROOT)}:{node.lineno} uses molgen.{node.attr}"


def test_files_are_short_and_none_is_a_drawer_for_odds_and_ends():
    files = [path for folder in ("molgen", "plugins", "scripts", "tests") for path in ROOT.glob(f"{folder}/**/*.py")]
    long = {str(path.relative_to(ROOT)): lines for path in files if (lines := len(path.read_text().splitlines())) > 400}
    assert not long
    assert not [path for path in files if path.name in ("utils.py", "util.py", "helpers.py", "misc.py")]


def test_the_public_names_are_these():
    assert molgen.__all__ == PUBLIC == sorted(PUBLIC)
    assert set(PUBLIC) <= set(dir(molgen))


@pytest.mark.parametrize("name", PUBLIC)
def test_each_public_name_is_there(name):
    assert getattr(molgen, name) is not None


def test_a_misspelt_public_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'molgen' has no attribute 'laod'"):
        molgen.laod  # noqa: B018


def test_the_version_is_that_of_the_project():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert molgen.__version__ == project["version"]


def imported(code: str) -> set[str]:
    """Top-level modules of a fresh interpreter after it ran some code."""
    report = "import sys; print(*{name.partition('.')[0] for name in sys.modules})"
    ended = subprocess.run([sys.executable, "-c", f"{code}\n{report}"], capture_output=True, text=True, check=True)
    return set(ended.stdout.split())


@pytest.mark.parametrize(
    "code", ["import molgen", "import molgen; molgen.plugins()", "import molgen.host", "import molgen; dir(molgen)"]
)
def test_importing_and_listing_load_nothing_heavy(code):
    assert not HEAVY & imported(code)


def test_the_command_line_loads_nothing_heavy_before_a_command_runs():
    quiet = "import contextlib, io\nwith contextlib.redirect_stdout(io.StringIO()):"
    code = f"{quiet}\n    from molgen.cli.main import main; main(['--help'])"
    assert not (HEAVY - {"typer"}) & imported(code)
