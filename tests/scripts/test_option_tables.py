"""What a plugin's README says of its options is what its models check, and its examples run."""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from typing import Literal

import pytest
from pydantic import BaseModel, Field

from molgen.host.registry import registry

PLUGINS = Path(__file__).parents[2] / "plugins"
READMES = sorted(PLUGINS.glob("*/README.md"))
EXAMPLES = [
    (readme, number, code)
    for readme in READMES
    for number, code in enumerate(re.findall(r"```python\n(.*?)```", readme.read_text(encoding="utf-8"), re.DOTALL))
]


class Inner(BaseModel):
    scale: float = Field(0.5, gt=0, lt=1, description="size, in Å | or none")


class Outer(BaseModel):
    kind: Literal["a", "b"] = Field("a", description="which")
    cutoff: float | None = Field(None, gt=0, description="Å")
    needed: int = Field(ge=1, description="how many")
    inner: Inner = Field(default_factory=Inner, description="the rest")


def test_a_table_has_values_default_and_description_of_every_option(script):
    assert script("option_tables").option_table(Outer).splitlines()[2:] == [
        '| `kind` | `"a"` or `"b"` | `"a"` | which |',
        "| `cutoff` | number > 0 or null | `null` | Å |",
        "| `needed` | integer ≥ 1 | required | how many |",
        "| `inner.scale` | number > 0, < 1 | `0.5` | size, in Å \\| or none |",
    ]


@pytest.mark.parametrize("readme", READMES, ids=lambda path: path.parent.name)
def test_the_tables_of_a_readme_are_those_of_the_models(script, readme):
    text = readme.read_text(encoding="utf-8")
    assert script("option_tables").filled(text) == text, "run python scripts/option_tables.py"


@pytest.mark.parametrize("kind", ["encoder", "head", "sampler"])
def test_every_component_of_our_plugins_has_its_table(script, kind):
    documented = {
        model for readme in READMES for model in script("option_tables").documented(readme.read_text(encoding="utf-8"))
    }
    ours = {readme.parent.name for readme in READMES}
    for each in registry().components(kind):
        if each.distribution.removeprefix("molgen-").replace("-", "_") in ours and each.component.config is not None:
            assert each.component.config in documented, each.id


@pytest.mark.parametrize(("readme", "number", "code"), EXAMPLES, ids=lambda part: getattr(part, "parent", part))
def test_the_examples_of_a_readme_run(readme, number, code, tmp_path, capsys):
    program = tmp_path / "example.py"
    program.write_text(code, encoding="utf-8")
    runpy.run_path(str(program))
    assert capsys.readouterr().out
