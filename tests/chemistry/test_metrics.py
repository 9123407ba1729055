"""Scores beside counting by hand, with and without reference data."""

import json

import pytest
import torch

from molgen.chemistry import metrics as module
from molgen.chemistry.intervals import fraction
from molgen.chemistry.metrics import METRICS, Metrics, Reference, comparison_table, score
from molgen.chemistry.molecules import Molecules
from molgen.chemistry.table_molecules import TableMolecules
from molgen.errors import InputError, StructureError
from molgen.structures import Structures, concatenate

WATER = Structures.build([[0.0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]], [8, 1, 1])
METHANE = Structures.build([[0.0, 0, 0], *(0.629 * torch.tensor([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]))
                            .tolist()], [6, 1, 1, 1, 1])  # fmt: skip
HYDROXYL = Structures.build([[0.0, 0, 0], [0.96, 0, 0]], [8, 1])  # valid as a radical, not stable
CLASH = Structures.build([[0.0, 0, 0], [0.6, 0, 0], [0, 0.6, 0]], [8, 8, 8])  # neither
TWO_WATERS = Structures.build(torch.cat([WATER.positions, WATER.positions + 9]), [8, 1, 1] * 2)
SAMPLE = concatenate([WATER, WATER, METHANE, HYDROXYL, CLASH, TWO_WATERS])
# ethane, as its bonds have it, in twenty shapes that are nearly the same
_HALF = torch.tensor([[0, 0, 0.766], [1.019, 0, 1.164], [-0.5095, 0.8825, 1.164], [-0.5095, -0.8825, 1.164]])
_FORM = torch.cat([_HALF, -_HALF]).double()
_NOISE = 0.01 * torch.randn(20, 8, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
MANY = Structures.build((_FORM + _NOISE).reshape(-1, 3), [6, 1, 1, 1] * 40, n_atoms=[8] * 20)
DISTANCES = ("bond_length_w1", "angle_w1", "torsion_w1")


BY_TABLE = ("d1_atom_stability", "d1_molecule_stability", "validity", "connected_validity", "uniqueness", "novelty")


def test_each_metric_counts_what_its_name_says():
    found = score(SAMPLE)
    counts = {name: (round(m.value * m.n), m.n) for name, m in found.items()}
    counts.pop("posebusters", None)  # where it is installed
    assert counts == {
        "d1_atom_stability": (3 + 3 + 5 + 1 + 0 + 6, 22),
        "d1_molecule_stability": (4, 6),
        "d2_atom_stability": (3 + 3 + 5 + 1 + 3 + 6, 22),  # a ring of three oxygens is perceived, and its valences hold
        "d2_molecule_stability": (5, 6),
        "validity": (5, 6),
        "connected_validity": (4, 6),
        "uniqueness": (3, 5),  # water three times
    }
    assert found.reference is None


def test_novelty_is_what_the_reference_does_not_have():
    found = score(SAMPLE, concatenate([METHANE, CLASH, WATER]))["novelty"]
    assert (found.value, found.n) == (1 / 3, 3)


def test_a_set_has_nothing_new_to_itself_and_everything_new_to_others(real):
    assert score(real, real)["novelty"].value == 0
    assert score(real, HYDROXYL)["novelty"].value == 1


def test_novelty_is_that_of_comparing_all_smiles(real):
    generator = torch.Generator().manual_seed(5)
    noise = torch.randn(real.positions.shape, generator=generator, dtype=torch.float64)
    sample = concatenate([real.replace(positions=real.positions + s * noise) for s in (0.03, 0.08, 0.15)])
    reference = real.select(range(0, len(real), 2))
    unique = {smiles for smiles in TableMolecules(sample).smiles if smiles}
    new = unique - {smiles for smiles in TableMolecules(reference).smiles if smiles}
    assert 0 < len(new) < len(unique)
    assert score(sample, reference)["novelty"].value == len(new) / len(unique)


def test_one_reference_serves_several_sets(real):
    reference = Reference(real)
    alone = [score(part, real).as_dict() for part in (WATER, METHANE, HYDROXYL)]
    assert [score(part, reference).as_dict() for part in (WATER, METHANE, HYDROXYL)] == alone
    assert [row["novelty"]["value"] for row in alone] == [0, 0, 1]


def test_the_references_own_row_has_its_ceiling_but_no_novelty(real):
    own = score(WATER, real).reference
    alone = score(real)
    assert own is not None
    assert set(own) - {"bond_length_w1", "angle_w1", "torsion_w1"} == set(alone)
    for name in ("d1_atom_stability", "d1_molecule_stability", "validity", "connected_validity"):
        assert own[name] == alone[name]
    assert own["uniqueness"].n == 1  # of as many molecules as were scored


def test_of_a_large_reference_a_seeded_sample_is_enough(real, monkeypatch):
    monkeypatch.setattr(module, "REFERENCE_SAMPLE", 10)
    rows = [score(WATER, real, seed=seed).reference for seed in (1, 1, 2)]
    assert rows[0]["validity"].n == 10
    assert rows[0]["d1_molecule_stability"].n == len(real)
    assert rows[0].as_dict() == rows[1].as_dict()


def test_molecules_structures_and_rdkit_molecules_score_the_same(real):
    expected = score(real).as_dict()
    assert score(Molecules(real)).as_dict() == expected
    assert score(Molecules(real).rdkit()).as_dict() == expected


def test_bonds_and_charges_of_the_structures_make_no_difference(real):
    bonded, alone = score(Molecules(real).bonded()), score(real)
    assert all(bonded.get(name) == alone.get(name) for name in BY_TABLE)


def test_molecules_with_a_table_of_their_own_are_scored_by_it():
    class Failed(Molecules):
        @property
        def table(self) -> TableMolecules:
            return TableMolecules(HYDROXYL)

    assert score(Failed(WATER))["d1_molecule_stability"].value == 0


def test_where_nothing_is_valid_uniqueness_and_novelty_are_absent():
    assert set(score(CLASH, WATER)) & set(BY_TABLE) == set(BY_TABLE) - {"uniqueness", "novelty"}


def test_names_are_those_of_the_records_and_every_number_is_a_fraction():
    assert [metric.name for metric in METRICS] == [
        "d1_atom_stability",
        "d1_molecule_stability",
        "d2_atom_stability",
        "d2_molecule_stability",
        "validity",
        "connected_validity",
        "uniqueness",
        "novelty",
        "posebusters",
        "bond_length_w1",
        "angle_w1",
        "torsion_w1",
    ]
    record = json.loads(score(MANY, MANY).to_json())
    assert set(record) | {"posebusters"} == {metric.name for metric in METRICS}
    units = {metric.name: metric.unit for metric in METRICS}
    for name, entry in record.items():
        assert set(entry) == {"value", "low", "high", "n"}
        assert 0 <= entry["low"] <= entry["value"] <= entry["high"]
        assert units[name] != "%" or entry["high"] <= 1


def test_geometry_is_at_no_distance_from_itself_and_the_ceiling_is_half_against_half():
    found = score(MANY, MANY)
    assert [found[name].value for name in DISTANCES] == [0, 0, 0]
    assert [found[name].n for name in DISTANCES] == [7 * 20, 12 * 20, 9 * 20]
    own = found.reference
    assert [own[name].n for name in DISTANCES] == [7 * 10, 12 * 10, 9 * 10]  # half of the twenty
    stretched = MANY.replace(positions=1.02 * MANY.positions)
    moved = score(stretched, MANY)
    assert moved["bond_length_w1"].value == pytest.approx(0.02 * 1.16, rel=0.05)
    assert moved["bond_length_w1"].low > 0
    assert moved["angle_w1"].value == pytest.approx(0, abs=1e-9)


def test_without_a_reference_or_without_enough_of_a_kind_there_are_no_distances():
    assert not set(score(MANY)) & set(DISTANCES)
    assert not set(score(WATER, MANY)) & set(DISTANCES)
    assert not set(score(WATER, WATER).reference) & set(DISTANCES)


def test_distances_and_the_references_row_are_the_same_for_a_seed():
    one, two = (score(MANY.select(range(12)), MANY, seed=3) for _ in range(2))
    assert one.as_dict() == two.as_dict()
    assert one.reference.as_dict() == two.reference.as_dict()


def test_some_of_the_molecules_keep_what_was_perceived_of_them(real):
    molecules = Molecules(real)
    part = molecules.select([4, 1])
    assert part.perceived == [molecules.perceived[4], molecules.perceived[1]]
    assert part.structures.formulas() == [real.formulas()[4], real.formulas()[1]]


def test_the_table_shows_value_interval_count_bonds_and_the_reference():
    lines = score(SAMPLE, WATER).table().splitlines()
    rows = {line.split()[0]: line for line in lines}
    assert lines[0].split() == ["%", "bonds", "molecules", "reference"]
    assert lines[3].split() == [
        *["d1_molecule_stability", "distance", "table"],
        *["66.67", "(30.00–90.32)", "of", "6"],
        *["100.00", "(20.65–100.00)", "of", "1"],
    ]
    assert rows["novelty"].endswith("–")
    assert "given or perceived" in rows["d2_molecule_stability"]


def test_what_is_no_fraction_is_shown_with_its_unit():
    rows = {line.split()[0]: line for line in score(MANY, MANY).table().splitlines()}
    assert rows["bond_length_w1,"].split()[:6] == ["bond_length_w1,", "Å", "given", "or", "perceived", "0.0000"]
    assert rows["torsion_w1,"].split()[:6] == ["torsion_w1,", "°", "given", "or", "perceived", "0.00"]


def test_a_comparison_leaves_a_dash_where_a_column_lacks_a_metric():
    columns = {"a": Metrics({"validity": fraction(1, 2)}), "b": Metrics({"uniqueness": fraction(1, 1)})}
    rows = [line.split("  ") for line in comparison_table(columns).splitlines()[2:]]
    assert [(row[0].strip(), "–" in [cell.strip() for cell in row]) for row in rows] == [
        ("validity", True),
        ("uniqueness", True),
    ]


@pytest.mark.parametrize("nothing", [Structures.build([], [], n_atoms=[]), []])
def test_nothing_to_score_is_refused(nothing):
    with pytest.raises(InputError, match="nothing to score"):
        score(nothing)
    with pytest.raises(InputError, match="reference has no structures"):
        score(WATER, nothing)


def test_a_missing_rdkit_molecule_is_named():
    with pytest.raises(StructureError, match="molecule 1"):
        score([*Molecules(WATER).rdkit(), None])


@pytest.mark.data
def test_qm9_comes_out_near_the_published_99_and_95(data_folder):
    from molgen.data.readers import read

    # every 25th: neighbours in the file are alike
    found = score(read(data_folder / "qm9_noF_3d.npz", index=slice(None, None, 25)))
    assert found["d1_atom_stability"].value == pytest.approx(0.99, abs=0.01)
    assert found["d1_molecule_stability"].value == pytest.approx(0.952, abs=0.02)
