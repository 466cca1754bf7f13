"""What all tests share."""

import importlib
import os
import sys
from pathlib import Path
from textwrap import dedent

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


def photographs(name: str) -> Path:
    """Return the folder of a real data set in VOC layout, or skip the test where it is not."""
    variable = f"SPNAS_{name.upper()}"
    folder = Path(os.environ.get(variable) or ROOT.parent / "shared" / "data" / name)
    if not (folder / "Annotations").is_dir():
        # Others' data, published for research or large: it is not committed, and not everybody has it.
        pytest.skip(f"the photographs of {name} are not at {folder}: set {variable} to their folder")
    return folder


@pytest.fixture
def bccd() -> Path:
    """The folder of BCCD, blood cells."""
    return photographs("bccd")


@pytest.fixture
def rsod() -> Path:
    """The folder of the RSOD sample, aerial photographs."""
    return photographs("rsod")


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Install a plugin: ``install(plugin, source)``; distribution ``spnas-<plugin>`` and module by default."""
    # Here, since the emulation's environment has these tests' parent folder, and no spnas.
    from spnas_core.plugins import broken_plugins, reset_plugins
    from spnas_core.plugins.manager import DISABLE_VARIABLE

    monkeypatch.delenv(DISABLE_VARIABLE, raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    modules = []

    def install(plugin: str, source: str, *, distribution: str | None = None) -> None:
        distribution = distribution or f"spnas-{plugin}"
        module = f"fake_{distribution.replace('-', '_')}_{plugin.replace('-', '_')}"
        modules.append(module)
        (tmp_path / f"{module}.py").write_text(dedent(source), encoding="utf-8")
        info = tmp_path / f"{distribution.replace('-', '_')}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[spnas]\n{plugin} = {module}\n")
        importlib.invalidate_caches()
        reset_plugins()

    reset_plugins()
    yield install
    for module in modules:
        sys.modules.pop(module, None)
    monkeypatch.undo()
    importlib.invalidate_caches()
    reset_plugins()
    assert not broken_plugins()


def pytest_collection_modifyitems(config, items):
    """Leave out what needs a GPU where there is none."""
    if torch.cuda.is_available():
        return
    for item in items:
        if "gpu" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))
