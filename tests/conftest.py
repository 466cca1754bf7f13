"""What all tests share."""

import os
from pathlib import Path

import pytest
import torch
from hypothesis import settings
from threads import THREADS

settings.register_profile("spnas", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("spnas")

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def _calm_torch():
    torch.set_num_threads(THREADS)
    deterministic = torch.are_deterministic_algorithms_enabled()
    yield
    torch.use_deterministic_algorithms(deterministic)


@pytest.fixture
def bccd() -> Path:
    """The folder of the real data set BCCD in VOC layout."""
    folder = Path(os.environ.get("SPNAS_BCCD", ROOT.parent / "shared" / "data" / "bccd"))
    if not (folder / "Annotations").is_dir():
        pytest.skip(f"the BCCD data set is not at {folder}: set SPNAS_BCCD to its folder")
    return folder


def pytest_collection_modifyitems(config, items):
    """Leave out what needs a GPU where there is none."""
    if torch.cuda.is_available():
        return
    for item in items:
        if "gpu" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))
