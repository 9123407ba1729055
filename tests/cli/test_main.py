"""The program's frame: exit codes, errors in one line, help that loads nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer

import molgen
from molgen.cli import main as main_module
from molgen.cli.main import main
from molgen.cli.options import ExitCode
from molgen.errors import ConfigError, RequestError


@pytest.fixture
def command(monkeypatch):
    """Replaces the program's commands by one, `act`, that does what a function does."""

    def install(function):
        def act(number: int = 0) -> None:
            function()

        def app() -> typer.Typer:
            made = typer.Typer()
            made.callback()(lambda: None)
            made.command("act")(act)
            return made

        monkeypatch.setattr(main_module, "_app", app)

    return install


def raising(error: BaseException):
    def function() -> None:
        raise error

    return function


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (RequestError("too many", where="-n", remedy="ask for less"), 2, "molgen: error: too many (-n); ask for less"),
        (ConfigError("two\nlines\x1b[31m"), 2, "molgen: error: two lines [31m"),
        (PermissionError(13, "Permission denied", "/x"), 2, "molgen: error: Permission denied (/x)"),
        (typer.BadParameter("odd"), 2, "molgen: error: Invalid value: odd"),
        (typer.Exit(ExitCode.FEWER), 3, ""),
        (typer.Exit(), 0, ""),
        (KeyboardInterrupt(), 130, "interrupted"),
        (typer.Abort(), 130, "molgen: error: interrupted"),
        (
            ValueError("a\nb"),
            1,
            "molgen: error: internal: ValueError: a b; --traceback or MOLGEN_TRACEBACK=1 shows where",
        ),
    ],
)
def test_each_ending_has_its_code_and_at_most_one_line(command, capsys, error, code, line):
    command(raising(error))
    assert main(["act"]) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") <= 1
    assert line in captured.err


def test_a_command_that_ends_well_gives_zero(command, capsys):
    command(lambda: None)
    assert main(["act"]) == 0
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("error", [ValueError("deep"), RequestError("deep")])
@pytest.mark.parametrize("words", [["act", "--traceback"], ["--traceback", "act"]])
def test_the_traceback_is_shown_wherever_it_is_asked_for(command, capsys, error, words):
    command(raising(error))
    assert main(words) in (1, 2)
    shown = capsys.readouterr().err
    assert "Traceback (most recent call last)" in shown
    assert shown.splitlines()[-1].startswith("molgen: error: ")


@pytest.mark.parametrize(("value", "shown"), [("1", True), ("0", False), ("", False)])
def test_the_traceback_can_be_asked_for_by_the_environment(command, capsys, monkeypatch, value, shown):
    monkeypatch.setenv("MOLGEN_TRACEBACK", value)
    command(raising(ValueError("deep")))
    assert main(["act"]) == 1
    assert ("Traceback" in capsys.readouterr().err) is shown


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["plugns"], "molgen: error: No such command 'plugns'. Did you mean 'plugins'?"),
        (["plugins", "--jsn"], "molgen: error: No such option"),
        (["--nonsense"], "molgen: error: No such option"),
        (["plugins", "--json"], "--json"),
        (["plugins", "surplus"], "molgen: error: Got unexpected extra argument"),
    ],
)
def test_a_misspelt_command_line_is_told_in_one_line(capsys, words, line):
    assert main(words) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert line in captured.err


def test_the_version_is_that_of_the_package(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"molgen {molgen.__version__}\n"


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"]])
def test_help_lists_the_commands(capsys, words):
    assert main(words) == 0
    shown = capsys.readouterr().out
    for name in ("generate", "score", "train", "relax", "md", "info", "models", "plugins", "data"):
        assert f" {name} " in shown


def shell(*words: str, path: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    """The program as a shell runs it."""
    code = "import sys; from molgen.cli.main import run; run()"
    variables = os.environ | environment
    if path is not None:
        variables["PYTHONPATH"] = os.pathsep.join([str(path), *os.environ.get("PYTHONPATH", "").split(os.pathsep)])
    return subprocess.run(
        [sys.executable, "-c", code, *words], env=variables, capture_output=True, text=True, timeout=60
    )


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["plugins", "--help"], ["generate", "--help"]])
def test_help_loads_no_plugin(site, words):
    site.add("fake-witness", "print('imported')\n" + site.hook("encoder", "witness"))
    ended = shell(*words, path=site.path)
    assert ended.returncode == 0
    assert "imported" not in ended.stdout + ended.stderr


def test_the_program_exits_with_the_code_of_main(site):
    assert shell("plugns").returncode == 2
    assert shell("--version").returncode == 0


def test_a_reader_that_leaves_early_causes_no_traceback(site):
    site.add("fake-many", site.hook("encoder", *(f"e{number}" for number in range(3000))))
    code = "from molgen.cli.main import run; run()"
    variables = os.environ | {"PYTHONPATH": f"{site.path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    with subprocess.Popen(
        [sys.executable, "-c", code, "plugins", "--json", "-"], env=variables, stdout=-1, stderr=-1, text=True
    ) as process:
        process.stdout.readline()
        process.stdout.close()
        assert "Traceback" not in process.stderr.read()
