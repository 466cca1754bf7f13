import importlib.util
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2] / "csrc"


@pytest.fixture
def build(monkeypatch):
    for name in ("SPNAS_KERNELS_BUILD", "SPNAS_KERNELS_CUDA", "CXX"):
        monkeypatch.delenv(name, raising=False)
    spec = importlib.util.spec_from_file_location("native_build", ROOT / "native_build.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def targets(folder):
    return {name: folder / f"{name}.so" for name in ("_cpu", "_cuda", "_matching")}


def test_without_a_compiler_the_install_goes_on_and_says_so(build, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.warns(UserWarning, match="installed without its native libraries: no C\\+\\+ compiler found"):
        build.build_libraries(ROOT, tmp_path / "objects", targets(tmp_path))
    assert not list(tmp_path.glob("*.so"))


def test_without_a_compiler_a_required_build_fails(build, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("SPNAS_KERNELS_BUILD", "require")
    with pytest.raises(build.BuildError, match="could not be built: no C\\+\\+ compiler found: install one"):
        build.build_libraries(ROOT, tmp_path / "objects", targets(tmp_path))


def test_without_torch_the_message_says_what_to_do(build, tmp_path, monkeypatch):
    monkeypatch.setattr(build, "find_spec", lambda name: None)
    with pytest.raises(build.BuildError, match=r"install torch >= 2\.11 first and build with --no-build-isolation"):
        build.NinjaFile(ROOT, tmp_path)


def test_every_operator_is_compiled_for_every_instruction_set(build, tmp_path):
    ninja_file = build.NinjaFile(ROOT, tmp_path)
    ninja_file.is_x86 = True
    ninja_file.cpu_library(tmp_path / "_cpu.so")
    text = ninja_file.text()
    for operator in ("copy_weights", "nms_grouped", "roi_align_fpn"):
        assert f"{operator}_schema.o" in text
        for isa in ("baseline", "avx2", "avx512"):
            assert f"{operator}_kernel_{isa}.o: cxx" in text
            assert f"-DSPNAS_ISA={isa}" in text


@pytest.mark.parametrize(
    ("wanted", "architectures"),
    [
        ("off", ()),
        ("wheel", ("8.0", "8.6", "8.9", "9.0+PTX")),
        ("8.0;9.0+PTX", ("8.0", "9.0+PTX")),
        ("9.0a, 10.0", ("9.0a", "10.0")),
    ],
)
def test_cuda_architectures_are_read(build, monkeypatch, wanted, architectures):
    monkeypatch.setattr(build, "cuda_home", lambda: Path("/toolkit"))
    assert build.cuda_architectures(wanted) == architectures


def test_without_a_gpu_nothing_is_built_for_cuda_unless_asked_for(build, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert build.cuda_architectures("auto") == ()
    monkeypatch.setattr(build, "cuda_home", lambda: None)
    with pytest.raises(build.BuildError, match="no CUDA toolkit found: install one, set CUDA_HOME"):
        build.cuda_architectures("9.0")


def test_a_text_that_names_no_capability_is_refused(build):
    with pytest.raises(build.BuildError, match=r"SPNAS_KERNELS_CUDA names 'hopper': capabilities look like 9\.0"):
        build.cuda_architectures("hopper")


def test_an_empty_list_of_architectures_is_refused(build):
    with pytest.raises(build.BuildError, match="SPNAS_KERNELS_CUDA is '; ': choose auto, off, wheel or a list"):
        build.cuda_architectures("; ")


def test_without_pybind11_the_build_says_so(build, tmp_path, monkeypatch):
    ninja_file = build.NinjaFile(ROOT, tmp_path)
    monkeypatch.setattr(build, "find_spec", lambda name: None)
    with pytest.raises(build.BuildError, match="pybind11 is missing: pip install pybind11"):
        ninja_file.matching_module(tmp_path / "_matching.so")


def test_paths_with_spaces_dollars_and_colons_reach_the_compiler(build, tmp_path, monkeypatch):
    root = tmp_path / "a $folder: odd"
    shutil.copytree(ROOT / "match_detections", root / "match_detections")
    monkeypatch.setenv("SPNAS_KERNELS_BUILD", "require")
    monkeypatch.setenv("SPNAS_KERNELS_CXXFLAGS", "-O0")
    ninja_file = build.NinjaFile(root, tmp_path)
    ninja_file.matching_module(root / "_matching.so")
    (tmp_path / "build.ninja").write_text(ninja_file.text())
    subprocess.run([build.find_ninja(), "-C", str(tmp_path)], check=True, capture_output=True)
    assert (root / "_matching.so").exists()
