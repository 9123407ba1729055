"""PoseBusters on molecules that pass and that don't; without the package there is no such metric."""

from __future__ import annotations

import pytest

from molgen.chemistry import plausibility
from molgen.chemistry.metrics import score
from molgen.chemistry.molecules import Molecules
from molgen.structures import concatenate

installed = pytest.mark.skipif(
    not plausibility.is_installed(), reason="the package posebusters is missing; pip install 'molgen[posebusters]'"
)


@pytest.fixture(scope="module")
def molecules(real, neutral) -> Molecules:
    """Ethanol, benzene, and ethanol with all its atoms pulled apart by a half."""
    names = list(neutral)
    ethanol, benzene = (real.select([names.index(name)]) for name in ("CH3CH2OH", "C6H6"))
    bonded = Molecules(ethanol).bonded()
    return Molecules(concatenate([ethanol, benzene, bonded.replace(positions=1.5 * bonded.positions)]))


@installed
def test_real_molecules_pass_and_stretched_ones_do_not(molecules):
    assert plausibility.passes(molecules.rdkit()) == [True, True, False]
    found = score(molecules)["posebusters"]
    assert (found.value, found.n) == (pytest.approx(2 / 3), 3)


@installed
def test_what_is_no_molecule_or_can_not_be_checked_does_not_pass():
    from rdkit import Chem

    assert plausibility.passes([None, Chem.MolFromSmiles("CCO"), Chem.RWMol()]) == [False, False, False]
    assert plausibility.passes([]) == []


@installed
def test_of_many_molecules_a_sample_is_checked_the_same_each_time(molecules, monkeypatch):
    monkeypatch.setattr(plausibility, "SAMPLE", 2)
    found = [plausibility.plausible(molecules.perceived) for _ in range(2)]
    assert found[0] == found[1]
    assert found[0].n == 2


def test_without_the_package_the_metric_is_left_out(molecules, monkeypatch):
    monkeypatch.setattr(plausibility, "find_spec", lambda name: None)
    assert plausibility.plausible(molecules.perceived) is None
    assert "posebusters" not in score(molecules)
