"""The project's own molecules, as a file, as structures and as a cache."""

from __future__ import annotations

from pathlib import Path

import pytest

from molgen.data.cache import Cache, write_cache
from molgen.data.readers import read
from molgen.structures import Structures

SDF = Path(__file__).parents[2] / "data" / "small_molecules.sdf"


@pytest.fixture(scope="session")
def sdf() -> Path:
    return SDF


@pytest.fixture(scope="session")
def small(sdf: Path) -> Structures:
    return read(sdf)


@pytest.fixture(scope="session")
def cache(small: Structures, tmp_path_factory: pytest.TempPathFactory) -> Cache:
    path = tmp_path_factory.mktemp("cache") / "small.cache"
    write_cache([small.select(range(30)), small.select(range(30, len(small)))], path, precision="float64")
    return Cache.open(path)
