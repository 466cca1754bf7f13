"""What compiles emulated kernels."""

import importlib.util
import sys
from pathlib import Path

import pytest

CSRC = Path(__file__).resolve().parents[2] / "csrc"


@pytest.fixture(scope="session")
def build():
    """The module csrc/emulation/build.py."""
    spec = importlib.util.spec_from_file_location("emulation_build", CSRC / "emulation" / "build.py")
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """Where a process of tests compiles to."""
    return tmp_path_factory.mktemp("libraries")
