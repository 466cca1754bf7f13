import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import spnas_kernels
from spnas_kernels import _library

PACKAGE = Path(spnas_kernels.__file__).parent
USE = """
import warnings
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    import torch
    import spnas_kernels
    from spnas_kernels import _library, copy_weights_, nms_grouped, roi_align_fpn
    feature = torch.arange(48.0).reshape(1, 3, 4, 4).requires_grad_()
    pooled = roi_align_fpn([feature], torch.tensor([[0.0, 0, 0, 3, 3]]), 2, [1.0], sampling_ratio=2)
    pooled.sum().backward()
    boxes = torch.tensor([[0.0, 0, 4, 4], [0, 0, 4, 3], [9, 9, 10, 10]])
    keep = nms_grouped(boxes, torch.tensor([0.5, 0.9, 0.1]), torch.zeros(3, dtype=torch.int64), 0.5)
    copied = torch.empty(2)
    copy_weights_([copied], [torch.tensor([1.0, 2.0])])
print("loaded", _library.is_loaded())
print("values", pooled.sum().item(), feature.grad.sum().item(), keep.tolist(), copied.tolist())
for warning in caught:
    if "Build it" in str(warning.message):
        print("warning", warning.message)
"""


def run(mode, folder, **variables):
    """Use the package in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": str(folder), "SPNAS_KERNELS": mode, **variables}
    return subprocess.run([sys.executable, "-c", USE], env=environment, capture_output=True, text=True, check=False)


@pytest.fixture
def without_libraries(tmp_path):
    shutil.copytree(PACKAGE, tmp_path / "spnas_kernels", ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    return tmp_path


def test_native_operators_and_references_give_the_same(without_libraries):
    outputs = {
        "native": run("require", PACKAGE.parent),
        "asked for": run("reference", PACKAGE.parent),
        "missing": run("auto", without_libraries),
    }
    lines = {name: done.stdout.splitlines() for name, done in outputs.items()}
    assert lines["native"][0] == "loaded True"
    assert lines["asked for"][0] == lines["missing"][0] == "loaded False"
    assert lines["native"][1] == lines["asked for"][1] == lines["missing"][1]
    assert len(lines["native"]) == len(lines["asked for"]) == 2


def test_missing_libraries_are_told_once_with_the_command_that_builds_them(without_libraries):
    (warning,) = (line for line in run("auto", without_libraries).stdout.splitlines() if line.startswith("warning"))
    assert "its native library was not built" in warning
    assert warning.endswith("Build it: pip install --no-build-isolation ./csrc")


def test_required_libraries_that_are_missing_are_an_error(without_libraries):
    done = run("require", without_libraries)
    assert done.returncode == 1
    assert "KernelsMissingError: spnas_kernels is required and its native library was not built" in done.stderr


def test_a_library_that_does_not_load_is_told(without_libraries):
    name = next(PACKAGE.glob("_cpu*.so")).name
    broken = f"no library, for all that it says: spnas interface {_library.INTERFACE}"
    (without_libraries / "spnas_kernels" / name).write_text(broken)
    done = run("auto", without_libraries)
    assert done.stdout.splitlines()[0] == "loaded False"
    assert f"{name} does not load" in done.stdout


@pytest.fixture
def with_libraries(tmp_path):
    """A copy of the package, libraries included."""
    shutil.copytree(PACKAGE, tmp_path / "spnas_kernels", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


@pytest.mark.parametrize("name", ["_cpu", "_matching"])
def test_a_library_of_other_schemas_is_not_loaded(with_libraries, name):
    path = next((with_libraries / "spnas_kernels").glob(f"{name}*.so"))
    path.write_bytes(path.read_bytes().replace(_library.INTERFACE.encode(), b"i01234567"))
    done = run("auto", with_libraries)
    assert done.stdout.splitlines()[0] == f"loaded {name != '_cpu'}"
    (warning,) = (line for line in done.stdout.splitlines() if line.startswith("warning"))
    assert f"{path.name} was built from other sources than this version's. Build it: pip install" in warning
    required = run("require", with_libraries)
    assert f"spnas_kernels is required and {path.name} was built from other sources" in required.stderr


def test_a_missing_matching_module_is_told_where_the_operators_are_there(with_libraries):
    next((with_libraries / "spnas_kernels").glob("_matching*.so")).unlink()
    reason = {"_matching": "fatal error: Python.h: No such file or directory"}
    (with_libraries / "spnas_kernels" / _library.FAILURES.name).write_text(json.dumps(reason))
    done = run("auto", with_libraries)
    assert done.stdout.splitlines()[0] == "loaded True"
    (warning,) = (line for line in done.stdout.splitlines() if line.startswith("warning"))
    assert "match_detections runs in plain NumPy, many times slower: it has no matching module" in warning
    assert "(fatal error: Python.h: No such file or directory). Build it: pip install" in warning


def test_what_the_build_said_is_told_where_a_library_is_missing(without_libraries):
    failures = without_libraries / "spnas_kernels" / _library.FAILURES.name
    failures.write_text(json.dumps({"_cpu": "no C++ compiler found"}))
    assert (
        "its native library was not built (no C++ compiler found). Build it:" in run("auto", without_libraries).stdout
    )
    failures.write_text("no JSON")
    assert "its native library was not built. Build it:" in run("auto", without_libraries).stdout


@pytest.mark.parametrize("wanted", ["AVX2", "sse", ""])
def test_an_instruction_set_that_is_not_known_is_refused(wanted):
    done = run("auto", PACKAGE.parent, SPNAS_KERNELS_ISA=wanted)
    assert f"SPNAS_KERNELS_ISA is '{wanted}': choose from baseline, avx2, avx512" in done.stderr


def test_an_unknown_mode_is_refused():
    done = run("always", PACKAGE.parent)
    assert "SPNAS_KERNELS is 'always': choose from auto, require, reference" in done.stderr


def test_a_missing_cuda_library_is_told_once(monkeypatch):
    tensor = SimpleNamespace(device=torch.device("cuda"))
    monkeypatch.setattr(_library, "_loaded", {"_cpu"})
    _library._miss_cuda.cache_clear()
    monkeypatch.setenv("SPNAS_KERNELS", "require")
    with pytest.raises(_library.KernelsMissingError, match="it has no library for CUDA"):
        _library.is_native(tensor)
    monkeypatch.setenv("SPNAS_KERNELS", "auto")
    with pytest.warns(UserWarning, match=r"it has no library for CUDA.*Build it: pip install"):
        assert not _library.is_native(tensor)
    assert not _library.is_native(tensor)  # a second warning would be an error
    _library._miss_cuda.cache_clear()
