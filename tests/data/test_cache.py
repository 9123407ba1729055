"""What is written to a cache is read again, by index, to the bit or within the stated error."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import equal, structures
from torch import Tensor

from molgen.data.cache import Cache, write_cache
from molgen.data.layout import Source
from molgen.errors import ConfigError, DroppedDataWarning, InputError, OutputError
from molgen.structures import Structures, concatenate


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("caches") / "data.cache"


# each example writes a file and waits for the disk
writes = settings(max_examples=25)


def centred(batch: Structures) -> Tensor:
    return torch.cat([part.positions - part.positions.mean(0) for part in batch.split()])


def all_of(cache: Cache) -> Structures:
    return cache.structures(range(len(cache)))


@writes
@given(batch=structures(min_size=1), parts=st.integers(1, 3))
def test_a_float64_cache_gives_back_every_field_to_the_bit(batch: Structures, parts: int, place: Path) -> None:
    shares = [list(range(first, len(batch), parts)) for first in range(min(parts, len(batch)))]
    write_cache([batch.select(share) for share in shares], place, precision="float64")
    assert equal(all_of(Cache.open(place)), batch.select([i for share in shares for i in share]))


@writes
@given(batch=structures(min_size=1), data=st.data())
def test_any_choice_of_indices_is_the_selection_of_all(batch: Structures, data: st.DataObject, place: Path) -> None:
    write_cache([batch], place)
    chosen = data.draw(st.lists(st.integers(0, len(batch) - 1), max_size=8))
    cache = Cache.open(place)
    assert equal(cache.structures(chosen), all_of(cache).select(chosen))


@writes
@given(batch=structures(min_size=1))
def test_positions_are_within_the_stated_error_up_to_each_structures_centre(batch: Structures, place: Path) -> None:
    for precision in ("float32", "compact"):
        document = write_cache([batch], place, precision=precision)
        read = all_of(Cache.open(place))
        assert read.positions.dtype == torch.float32
        expected = batch.positions if precision == "float32" else centred(batch)
        error = (read.positions.double() - expected).abs()
        assert error.numel() == 0 or error.max() <= document.position_error
        assert document.position_error < 0.001


def test_float32_positions_are_kept_to_the_bit(small: Structures, place: Path) -> None:
    document = write_cache([small.to(torch.float32)], place)
    assert torch.equal(all_of(Cache.open(place)).positions, small.positions.float())
    assert document.position_error == 0


def test_the_fingerprint_is_of_the_content_not_of_its_batches_or_source(small: Structures, place: Path) -> None:
    source = Source(name="other.sdf", sha256=hashlib.sha256(b"").hexdigest())
    whole = write_cache([small], place)
    parts = write_cache(small.split(), place, source=source)
    moved = write_cache([small.replace(positions=small.positions + 0.001)], place)
    assert whole.fingerprint == parts.fingerprint != moved.fingerprint
    assert parts.source == source


def test_a_cache_knows_its_elements_and_sizes(cache: Cache, small: Structures) -> None:
    assert cache.elements == (1, 6, 7, 8)
    assert torch.equal(cache.n_atoms, small.n_atoms)
    assert len(cache) == len(small) == cache.document.n_structures
    assert cache.document.labels == {"structure:energy": "eV"}
    assert cache.document.n_bonds_known == len(small)


def test_an_index_that_is_not_there_is_refused(cache: Cache) -> None:
    for wrong in (len(cache), -1):
        with pytest.raises(InputError, match=f"no structure {wrong} .*expected 0 to {len(cache) - 1}"):
            cache.structures([0, wrong])


def test_no_index_gives_no_structures(cache: Cache) -> None:
    assert len(cache.structures([])) == 0


def test_large_structures_and_charges_widen_what_is_stored(place: Path) -> None:
    n = 300
    chain = Structures.build(
        torch.arange(3 * n).reshape(n, 3).double(),
        [6] * n,
        bonds=[[i, i + 1] for i in range(n - 1)],
        bond_orders=[1] * (n - 1),
        bonds_known=[True],
        formal_charges=[200] + [0] * (n - 1),
    )
    write_cache([chain, chain], place, precision="float64")
    assert equal(all_of(Cache.open(place)), concatenate([chain, chain]))


def test_labels_of_some_structures_only_are_nan_for_the_others(small: Structures, place: Path) -> None:
    bare = small.replace(structure_labels={})
    forces = torch.randn(len(small.species), 3, dtype=torch.float64)
    document = write_cache([bare, small.replace(atom_labels={"forces": forces}), bare], place)
    assert document.dropped_labels == ()
    assert document.format_version == 2
    n, atoms = len(small), len(small.species)
    read = all_of(Cache.open(place))
    energy = read.structure_labels["energy"]
    assert torch.equal(energy[n : 2 * n], small.structure_labels["energy"])
    assert torch.isnan(energy).tolist() == [True] * n + [False] * n + [True] * n
    assert torch.equal(read.atom_labels["forces"][atoms : 2 * atoms], forces)
    assert int(torch.isnan(read.atom_labels["forces"]).sum()) == 2 * 3 * atoms


def test_whole_numbers_of_some_structures_only_are_left_out_with_a_warning(small: Structures, place: Path) -> None:
    numbered = small.replace(structure_labels={"gdb_index": torch.arange(len(small))})
    with pytest.warns(DroppedDataWarning, match="left out: gdb_index"):
        document = write_cache([numbered, small.replace(structure_labels={})], place)
    assert document.dropped_labels == ("gdb_index",)
    assert all_of(Cache.open(place)).structure_labels == {}


def test_isolated_atoms_and_the_sources_of_labels_are_kept_and_hashed(small: Structures, place: Path) -> None:
    plain = write_cache([small], place)
    assert plain.format_version == 1
    assert "isolated_energies" not in plain.text()
    facts = {"label_sources": {"energy": "'E' in eV"}, "isolated_energies": {1: -13.6, 6: -1030.5}}
    written = write_cache([small], place, **facts)
    assert Cache.open(place).document == written
    assert written.isolated_energies == facts["isolated_energies"]
    assert written.format_version == 2
    assert written.fingerprint != plain.fingerprint


def test_nothing_is_written_where_the_input_is_refused(small: Structures, tmp_path: Path) -> None:
    path = tmp_path / "data.cache"
    other_type = small.replace(structure_labels={"energy": small.structure_labels["energy"].float()})
    unknown_type = small.replace(structure_labels={"energy": small.structure_labels["energy"].to(torch.bfloat16)})
    huge = small.replace(positions=small.positions * 1e300)
    for batches, message in (
        ([], "no structures"),
        ([small, other_type], "energy changes from float64"),
        ([unknown_type], "bfloat16"),
        ([huge], "too large for float32"),
    ):
        with pytest.raises(InputError, match=message):
            write_cache(batches, path)
    with pytest.raises(ConfigError, match="compact"):
        write_cache([small], path, precision="compat")  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_a_failure_midway_leaves_the_old_cache_as_it_was(small: Structures, tmp_path: Path) -> None:
    path = tmp_path / "data.cache"
    write_cache([small], path)
    before = path.read_bytes()

    def broken():
        yield small
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_cache(broken(), path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_place_that_can_not_be_written_is_named(small: Structures, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="missing"):
        write_cache([small], tmp_path / "missing" / "data.cache")


def test_the_cache_is_mapped_not_loaded(tmp_path: Path) -> None:
    atoms = 400_000
    many = Structures.build(torch.zeros(atoms, 3), torch.ones(atoms, dtype=torch.int64), n_atoms=[4] * (atoms // 4))
    write_cache([many], tmp_path / "data.cache")
    cache = Cache.open(tmp_path / "data.cache", verify=False)
    maps = Path("/proc/self/maps")
    if maps.exists():
        assert str(cache.path) in maps.read_text()
    assert len(cache.structures([7]).species) == 4
