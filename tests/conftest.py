"""What every test stands on: one thread, no deadline, and reasons for what is skipped."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

# Before torch is imported anywhere. Sums over several threads round differently from machine to machine, and the tests
# run in several processes already.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from hypothesis import HealthCheck, settings

# a busy machine is no failure; where changes are judged the examples are the same each time, elsewhere new ones
_calm = settings(
    max_examples=50,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    print_blob=True,
    derandomize="CI" in os.environ,
)
settings.register_profile("molgen", _calm)
settings.load_profile("molgen")

_CHROMIUMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "headless_shell")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for mark, missing in {"gpu": _no_gpu, "data": _no_data, "browser": _no_browser}.items():
        marked = [item for item in items if item.get_closest_marker(mark)]
        reason = missing() if marked else None
        if reason:
            for item in marked:
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder of research data sets; for tests marked `data`."""
    return Path(os.environ["MOLGEN_DATA"])


@pytest.fixture(scope="session")
def chromium() -> str:
    """The browser's command; for tests marked `browser`."""
    found = _find_chromium()
    assert found is not None
    return found


def _no_gpu() -> str | None:
    import torch

    return None if torch.cuda.is_available() else "no CUDA device on this machine"


def _no_data() -> str | None:
    folder = os.environ.get("MOLGEN_DATA")
    if folder is None:
        return "the environment variable MOLGEN_DATA names no folder of data sets"
    return None if Path(folder).is_dir() else f"MOLGEN_DATA names {folder}, which is no folder"


def _no_browser() -> str | None:
    return None if _find_chromium() else "no Chromium on this machine"


def _find_chromium() -> str | None:
    return next((path for name in _CHROMIUMS if (path := shutil.which(name))), None)
