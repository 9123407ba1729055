"""`molgen plugins` and `molgen models`, as a shell and as a program read them."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from molgen.cli.main import main
from molgen.host import registry as registry_module
from molgen.host.registry import Registry

HEAVY = {"torch", "e3nn", "rdkit", "ase", "numpy", "scipy", "matplotlib", "lightning_fabric", "rich"}


@pytest.fixture
def run(monkeypatch, capsys):
    """Runs a command in this process with the plugins that are installed now."""

    def run(*words: str) -> str:
        monkeypatch.setattr(registry_module, "registry", lambda: Registry.discover({}))
        assert main(words) == 0
        return capsys.readouterr().out

    return run


def test_a_plugin_has_a_line_with_what_it_is(site, run):
    site.add("fake-good", site.hook("encoder", "good") + site.hook("sampler", "well"), version="0.7.1")
    (line,) = [line for line in run("plugins").splitlines() if line.startswith("fake-good")]
    id, version, status, seconds, unit, *components = line.split()
    assert (id, version, status, unit) == ("fake-good:good", "0.7.1", "loaded", "s")
    assert 0 <= float(seconds) < 1
    assert " ".join(components) == "encoder good, sampler well"


def test_a_slow_plugin_shows_its_time(site, run):
    site.add("fake-slow", "import time; time.sleep(0.25)\n" + site.hook("encoder", "slow"))
    (line,) = [line for line in run("plugins").splitlines() if line.startswith("fake-slow")]
    assert float(line.split()[3]) >= 0.25


def test_the_list_is_data_for_programs(site, run, tmp_path):
    site.add("fake-bad", "import no_such_module")
    site.add("fake-good", site.hook("encoder", "good"))
    printed = json.loads(run("plugins", "--json", "-"))
    by_id = {each["id"]: each for each in printed}
    assert by_id["fake-good:good"]["status"] == "loaded"
    assert by_id["fake-good:good"]["components"] == ["encoder good"]
    assert by_id["fake-bad:bad"]["status"] == "failed"
    assert "no_such_module" in by_id["fake-bad:bad"]["reason"]
    assert "no_such_module" in by_id["fake-bad:bad"]["remedy"]
    assert "Traceback" in by_id["fake-bad:bad"]["traceback"]
    assert "fake-good:good" in run("plugins", "--json", str(tmp_path / "plugins.json"))
    assert {each["id"] for each in json.loads((tmp_path / "plugins.json").read_text())} == set(by_id)


def test_without_plugins_the_list_says_so(monkeypatch, capsys):
    monkeypatch.setattr(registry_module, "registry", lambda: Registry([]))
    assert main(["plugins"]) == 0
    assert "no plugin is installed" in capsys.readouterr().out


def test_a_place_that_can_not_be_written_is_the_users_error(tmp_path, capsys):
    assert main(["plugins", "--json", str(tmp_path / "absent" / "plugins.json")]) == 2
    assert "plugins.json" in capsys.readouterr().err


def test_strict_mode_fails_in_one_line(site, monkeypatch, capsys):
    site.add("fake-bad", "import no_such_module")
    monkeypatch.setattr(registry_module, "registry", lambda: Registry.discover({"MOLGEN_STRICT_PLUGINS": "1"}))
    assert main(["plugins"]) == 2
    shown = capsys.readouterr().err
    assert shown.startswith("molgen: error: plugin fake-bad:bad 1.0 is failed: ")
    assert shown.count("\n") == 1


def test_models_have_their_names_id_and_summary(site, run):
    site.add("fake-weights", site.hook("model", "qm9-fake", aliases=("fake-default",), summary="small molecules"))
    lines = run("models").splitlines()
    start = lines.index("qm9-fake, fake-default  (fake-weights:qm9-fake)")
    assert lines[start + 1].strip() == "small molecules"
    (model,) = [each for each in json.loads(run("models", "--json", "-")) if each["id"] == "fake-weights:qm9-fake"]
    assert model["aliases"] == ["fake-default"]


def test_models_of_broken_plugins_are_missed_aloud(site, monkeypatch, capsys):
    site.add("fake-bad", "import no_such_module")
    monkeypatch.setattr(registry_module, "registry", lambda: Registry.discover({}))
    assert main(["models"]) == 0
    assert "not loaded: fake-bad:bad; `molgen plugins` says why" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["plugins", "models"])
def test_listing_imports_nothing_heavy(site, command):
    site.add("fake-weights", site.hook("model", "qm9-fake"))
    code = (
        "import sys; from molgen.cli.main import main; assert main([sys.argv[1]]) == 0;"
        "print(*{name.partition('.')[0] for name in sys.modules}, file=sys.stderr)"
    )
    variables = os.environ | {"PYTHONPATH": f"{site.path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    ended = subprocess.run(
        [sys.executable, "-c", code, command], env=variables, capture_output=True, text=True, timeout=60
    )
    assert ended.returncode == 0
    assert "fake-weights:" in ended.stdout
    assert not HEAVY.intersection(ended.stderr.split())
