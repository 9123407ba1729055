"""The shipped models load by name, say the truth about themselves, and give molecules."""

from __future__ import annotations

import pytest

import molgen
from molgen.host.registry import registry
from molgen.models.checkpoint import read_checkpoint
from molgen.models.zoo import locate

MODELS = sorted(component.component.name for component in registry().components("model"))


@pytest.mark.parametrize("name", MODELS)
def test_a_shipped_model_is_small_and_its_card_speaks_of_its_tensors(name: str) -> None:
    path = locate(name)
    document = read_checkpoint(path).document  # hashes are checked
    assert path.stat().st_size <= 10_000_000
    card = path.with_suffix(".md").read_text(encoding="utf-8")
    assert document.tensors_sha256 is not None
    assert document.tensors_sha256 in card
    assert f"{document.training['samples']:,}" in card
    for figure in document.training["metrics"].values():
        assert f"{100 * figure['value']:.1f} ({100 * figure['low']:.1f}–{100 * figure['high']:.1f})" in card


def test_qm9_gives_molecules_as_stable_as_its_card_says() -> None:
    generator = molgen.load("qm9")
    molecules = generator.generate(24, seed=11, n_steps=50, progress=False)
    stable = molecules.metrics["d1_atom_stability"].value
    # half the steps of the card, and 24 molecules: five standard errors of a fraction near 0.95 over about 430 atoms
    assert stable >= generator.document.training["metrics"]["d1_atom_stability"]["value"] - 0.1
    assert molecules.n_results == 24
