"""Every way in which a plugin can be broken: the others work, the status says why, asking for it says what to do."""

from __future__ import annotations

import json
import sys

import pytest

from molgen.cli.main import main
from molgen.errors import AmbiguousComponentError, BrokenPluginError, MolgenError, UnknownComponentError
from molgen.host import registry as registry_module
from molgen.host.loading import PluginStatus
from molgen.host.registry import Registry

ALIAS = "Component(name='x', summary='', factory='a:b', aliases=('bad',))"
HOOK = "@hookimpl\ndef molgen_register_encoders(register):\n"
COMPONENT = "Component(name='bad', summary='s', factory='a:b')"

# name of the fault: source of the plugin, status, part of the reason, part of the remedy
FAULTS = {
    "its import fails": ("import no_such_module", "failed", "No module named 'no_such_module'", "install the module"),
    "its import raises": ("raise RuntimeError('two\\nlines')", "failed", "RuntimeError: two lines", "pip uninstall"),
    "its source is no Python": ("def (", "failed", "SyntaxError", "update fake-bad"),
    "its import ends the process": ("import sys; sys.exit(7)", "failed", "SystemExit: 7", "update fake-bad"),
    "its import is a KeyError of a page": ("raise KeyError('x' * 10_000)", "failed", "KeyError", "update fake-bad"),
    "it needs another molgen": ("from molgen.host.component import Gone", "failed", "cannot import name", "update"),
    "its hook raises": (f"{HOOK}    raise ValueError('no')", "failed", "its hook raises ValueError: no", "update"),
    "its hook raises after it registered": (
        f"{HOOK}    register({COMPONENT})\n    raise ValueError('late')",
        "failed",
        "ValueError: late",
        "update",
    ),
    "its hook ends the process": (f"{HOOK}    raise SystemExit", "failed", "SystemExit", "update"),
    "it registers junk": (
        f"{HOOK}    register(3)",
        "failed",
        "registers a int as encoder; expected a Component",
        "update",
    ),
    "it registers a class": (f"{HOOK}    register(Component)", "failed", "expected a Component", "update"),
    "it registers junk and hides the error": (
        f"{HOOK}    try:\n        register(object())\n    except Exception:\n        pass",
        "failed",
        "registers a object",
        "update",
    ),
    "its factory is no string": (
        f"{HOOK}    register(Component(name='bad', summary='s', factory=print))",
        "failed",
        "factory is <built-in function print> (component 'bad'); expected a string 'package.module:name'",
        "update",
    ),
    "its component has a field too many": (
        f"{HOOK}    register(Component(name='bad', summary='s', factory='a:b', colour='red'))",
        "failed",
        "unexpected keyword argument 'colour'",
        "update",
    ),
    "its name can't be written": (
        f"{HOOK}    register(Component(name='bad name:x', summary='s', factory='a:b'))",
        "failed",
        "name 'bad name:x' can't be used",
        "update",
    ),
    "its hook is misspelt": (
        "@hookimpl\ndef molgen_register_encoder(register):\n    pass",
        "failed",
        "unknown hook 'molgen_register_encoder'",
        "did you mean 'molgen_register_encoders'?",
    ),
    "its hook is not marked": (
        "def molgen_register_encoders(register):\n    pass",
        "failed",
        "molgen_register_encoders is not marked as a hook",
        "hookimpl",
    ),
    "its hook takes another argument": (
        "@hookimpl\ndef molgen_register_encoders(registry):\n    pass",
        "failed",
        "expected one argument named 'register'",
        "update",
    ),
    "its hook takes no argument": (
        "@hookimpl\ndef molgen_register_encoders():\n    pass",
        "failed",
        "takes no argument named 'register'",
        "update",
    ),
    "it has no hook": ("x = 3", "failed", "implements no hook", "update"),
    "it was written for a newer API": (
        f"{HOOK}    register(Component(name='bad', summary='s', factory='a:b', api=99))",
        "incompatible",
        "encoder 'bad' speaks API 99, this molgen speaks 1",
        "update molgen",
    ),
    "it registers a name twice": (
        f"{HOOK}    register({COMPONENT})\n    register({COMPONENT})",
        "failed",
        "registers the encoder 'bad' twice",
        "update",
    ),
    "an alias is a name of its own": (
        f"{HOOK}    register({COMPONENT})\n    register({ALIAS})",
        "failed",
        "registers the encoder 'bad' twice",
        "update",
    ),
    "it asks for the registry while it is loaded": (
        "from molgen.host.registry import Registry\nRegistry.discover({})",
        "failed",
        "the registry is asked for while plugins are loaded",
        "inside factories",
    ),
}


def status_of(registry: Registry, distribution: str) -> PluginStatus:
    (status,) = [plugin for plugin in registry.plugins if plugin.distribution == distribution]
    return status


@pytest.fixture(params=FAULTS.values(), ids=FAULTS.keys())
def fault(request, site):
    """One fault, between two plugins that are well."""
    site.add("fake-above", site.hook("encoder", "above"))
    site.add("fake-bad", request.param[0])
    site.add("fake-zero", site.hook("sampler", "zero"))
    return request.param


def test_every_other_plugin_works(fault):
    registry = Registry.discover({})
    assert registry.resolve("encoder", "above").id == "fake-above:above"
    assert registry.resolve("sampler", "zero").id == "fake-zero:zero"


def test_the_status_says_why_in_one_line_and_what_to_do(fault):
    _, status, reason, remedy = fault
    found = status_of(Registry.discover({}), "fake-bad")
    assert (found.id, found.version, found.status) == ("fake-bad:bad", "1.0", status)
    assert reason in found.reason
    assert remedy in found.remedy
    assert "\n" not in found.reason
    assert len(found.reason) < 320


@pytest.mark.parametrize("id", ["bad", "fake-bad:bad", "Fake_Bad:bad"])
def test_asking_for_its_component_says_why_and_what_to_do(fault, id):
    _, status, reason, remedy = fault
    with pytest.raises(BrokenPluginError) as error:
        Registry.discover({}).resolve("encoder", id)
    message = str(error.value)
    assert f"plugin fake-bad:bad 1.0 is {status}" in message
    assert reason in message
    assert remedy in message


def test_nothing_of_a_broken_plugin_is_registered(fault):
    registry = Registry.discover({})
    assert not [each for each in registry.components("encoder") if each.distribution == "fake-bad"]


def test_the_command_shows_status_reason_and_remedy(fault, monkeypatch, capsys):
    _, status, reason, remedy = fault
    monkeypatch.setattr(registry_module, "registry", lambda: Registry.discover({}))
    assert main(["plugins"]) == 0
    shown = capsys.readouterr().out
    for part in ("fake-above:above", "fake-zero:zero", "fake-bad:bad", status, reason, remedy):
        assert part in shown


def test_strict_mode_raises_from_the_plugins_own_error(fault):
    _, status, _, remedy = fault
    with pytest.raises(BrokenPluginError, match="fake-bad:bad") as error:
        Registry.discover({"MOLGEN_STRICT_PLUGINS": "1"})
    assert status in str(error.value)
    assert remedy in str(error.value)
    assert error.value.__cause__ is not None


def test_an_unknown_name_mentions_the_plugins_that_could_have_had_it(site):
    site.add("fake-bad", "import no_such_module")
    with pytest.raises(UnknownComponentError, match=r"fake-bad:bad \(failed: .*no_such_module"):
        Registry.discover({}).resolve("encoder", "never-heard-of")


def test_a_broken_name_is_recognised_before_its_plugin_broke(site):
    site.add(
        "fake-bad", f"{HOOK}    register(Component(name='gem', summary='', factory='a:b'))\n    raise ValueError('x')"
    )
    registry = Registry.discover({})
    assert status_of(registry, "fake-bad").components == ("encoder gem",)
    with pytest.raises(BrokenPluginError, match="fake-bad:bad"):
        registry.resolve("encoder", "gem")


def test_a_slow_import_is_shown_with_its_time_and_works(site):
    site.add("fake-slow", "import time; time.sleep(0.3)\n" + site.hook("encoder", "slow"))
    registry = Registry.discover({})
    status = status_of(registry, "fake-slow")
    assert status.status == "loaded"
    assert 0.3 <= status.seconds < 5
    assert registry.resolve("encoder", "slow").id == "fake-slow:slow"


def test_two_distributions_may_call_their_entry_points_alike(site):
    for name in ("fake-one", "fake-two"):
        package = name.replace("-", "_")
        site.add(name, site.hook("encoder", package), entry_points=f"[molgen]\nmine = {package}.plugin\n")
    registry = Registry.discover({})
    assert [status_of(registry, name).id for name in ("fake-one", "fake-two")] == ["fake-one:mine", "fake-two:mine"]
    assert registry.resolve("encoder", "fake_one").distribution == "fake-one"
    assert registry.resolve("encoder", "fake_two").distribution == "fake-two"


def test_a_short_name_of_two_distributions_is_refused_with_both_ids_that_work(site):
    site.add("fake-one", site.hook("encoder", "twin"))
    site.add("fake-two", site.hook("encoder", "twin"))
    registry = Registry.discover({})
    with pytest.raises(AmbiguousComponentError, match=r"fake-one:twin and fake-two:twin; .*fake-one:twin"):
        registry.resolve("encoder", "twin")
    assert registry.resolve("encoder", "fake-one:twin").distribution == "fake-one"
    assert registry.resolve("encoder", "fake-two:twin").distribution == "fake-two"


def test_an_alias_can_be_ambiguous_too(site):
    site.add("fake-one", site.hook("model", "first", aliases=("qm",)))
    site.add("fake-two", site.hook("model", "qm"))
    registry = Registry.discover({})
    with pytest.raises(AmbiguousComponentError, match="fake-one:first and fake-two:qm"):
        registry.resolve("model", "qm")
    assert registry.resolve("model", "fake-one:qm").id == "fake-one:first"


def test_two_entry_points_of_one_distribution_that_claim_a_name_leave_it_to_the_first(site):
    entry_points = "[molgen]\na = fake_pair.plugin\nb = fake_pair.other\n"
    other = "from molgen.host.component import *\n" + site.hook("encoder", "fresh", "same")
    site.add("fake-pair", site.hook("encoder", "same"), entry_points=entry_points, modules={"other": other})
    registry = Registry.discover({})
    first, second = [plugin for plugin in registry.plugins if plugin.distribution == "fake-pair"]
    assert (first.id, first.status) == ("fake-pair:a", "loaded")
    assert (second.id, second.status) == ("fake-pair:b", "failed")
    assert "another entry point of its distribution registers the encoder 'fake-pair:same'" in second.reason
    assert [each.id for each in registry.components("encoder") if each.distribution == "fake-pair"] == [
        "fake-pair:same"
    ]


@pytest.mark.parametrize(
    ("installed", "reason"),
    [
        ({"entry_points": "[molgen]\nbad\n"}, "entry_points.txt can't be read"),
        ({"entry_points": "[molgen]\nbad = not a module!\n"}, "is not of the form"),
        ({"entry_points": "[molgen]\nbad = fake_bad.absent\n"}, "No module named 'fake_bad.absent'"),
        ({"entry_points": "[molgen]\nbad = fake_bad.plugin:absent\n"}, "no attribute 'absent'"),
        ({"metadata": ""}, "METADATA is missing or has no name"),
    ],
)
def test_broken_packaging_is_a_status_too(site, installed, reason):
    site.add("fake-above", site.hook("encoder", "above"))
    site.add("fake-bad", site.hook("encoder", "bad"), **installed)
    registry = Registry.discover({})
    assert registry.resolve("encoder", "above").distribution == "fake-above"
    (status,) = [each for each in registry.plugins if each.distribution in ("fake-bad", "unknown")]
    assert status.status == "failed"
    assert reason in status.reason


def test_a_malformed_stranger_is_none_of_our_business(site):
    site.add("fake-stranger", "", entry_points="this is no entry point file\n= = =\n")
    site.add("fake-above", site.hook("encoder", "above"))
    registry = Registry.discover({})
    assert registry.resolve("encoder", "above").distribution == "fake-above"
    assert not [each for each in registry.plugins if "stranger" in each.id]


def test_what_a_plugin_prints_does_not_reach_standard_output(site, capsys, monkeypatch):
    site.add("fake-loud", "print('hello')\n" + site.hook("encoder", "loud"))
    monkeypatch.setattr(registry_module, "registry", lambda: Registry.discover({}))
    assert main(["plugins", "--json", "-"]) == 0
    captured = capsys.readouterr()
    assert "hello" in captured.err
    assert "fake-loud:loud" in [each["id"] for each in json.loads(captured.out)]


def test_a_plugin_can_be_interrupted(site):
    site.add("fake-endless", "raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        Registry.discover({})
    assert Registry.discover({"MOLGEN_PLUGINS": ""}), "the host is free again"


def test_the_limit_leaves_other_plugins_unimported(site):
    site.add("fake-above", site.hook("encoder", "above"))
    site.add("fake-bad", "import no_such_module")
    registry = Registry.discover({"MOLGEN_PLUGINS": " Fake_Above, ", "MOLGEN_STRICT_PLUGINS": "1"})
    assert registry.resolve("encoder", "above").distribution == "fake-above"
    assert status_of(registry, "fake-bad").status == "blocked"
    assert "fake_bad.plugin" not in sys.modules
    with pytest.raises(BrokenPluginError, match="MOLGEN_PLUGINS leaves it out; add fake-bad to MOLGEN_PLUGINS"):
        registry.resolve("encoder", "bad")


def test_an_empty_limit_means_no_plugin(site):
    site.add("fake-above", site.hook("encoder", "above"))
    registry = Registry.discover({"MOLGEN_PLUGINS": ""})
    assert {plugin.status for plugin in registry.plugins} == {"blocked"}
    assert not any(registry.components(kind) for kind in ("encoder", "sampler", "model"))


def test_a_limit_that_names_what_is_not_installed_is_told(site):
    site.add("fake-above", site.hook("encoder", "above"))
    registry = Registry.discover({"MOLGEN_PLUGINS": "fake-abvoe"})
    status = status_of(registry, "fake-abvoe")
    assert (status.status, status.remedy) == ("failed", "did you mean 'fake-above'?")
    with pytest.raises(MolgenError, match="MOLGEN_PLUGINS names it"):
        Registry.discover({"MOLGEN_PLUGINS": "fake-abvoe", "MOLGEN_STRICT_PLUGINS": "1"})
