import importlib.util
import json
import platform
import re
import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest

from spnas_kernels import _library

ROOT = Path(__file__).resolve().parents[2] / "csrc"


@pytest.fixture
def build(monkeypatch):
    for name in ("SPNAS_KERNELS_BUILD", "SPNAS_KERNELS_CUDA", "CXX"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.syspath_prepend(ROOT)
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
    with pytest.raises(
        build.BuildError,
        match="could not be built, without its native libraries: no C\\+\\+ compiler found: install one",
    ):
        build.build_libraries(ROOT, tmp_path / "objects", targets(tmp_path))


def test_without_torch_the_message_says_what_to_do(build, tmp_path, monkeypatch):
    monkeypatch.setattr(build, "find_spec", lambda name: None)
    with pytest.raises(build.BuildError, match=r"install torch >= 2\.11 first and build with --no-build-isolation"):
        build.NinjaFile(ROOT, tmp_path)


COMPILER_SCRIPT = """#!/bin/sh
for word in "$@"; do
  case "$word" in {refused}) echo "module.cpp:1:10: fatal error: $word: No such file or directory" >&2; exit 1;; esac
done
while [ $# -gt 0 ]; do
  case "$1" in -o) echo built > "$2";; -MF) echo "" > "$2";; esac
  shift
done
"""


def pretend_compiler(folder, monkeypatch, refused):
    """A compiler that builds nothing but says that it did, except for sources whose names match."""
    compiler = folder / "compiler"
    compiler.write_text(COMPILER_SCRIPT.format(refused=refused))
    compiler.chmod(0o755)
    monkeypatch.setenv("CXX", str(compiler))
    return compiler


def built(folder):
    return {path.stem for path in folder.glob("*.so")}


def test_a_matching_module_that_fails_leaves_the_operators(build, tmp_path, monkeypatch):
    pretend_compiler(tmp_path, monkeypatch, "*module.cpp")
    monkeypatch.setenv("SPNAS_KERNELS_CUDA", "off")
    message = r"installed without its matching module: module\.cpp:1:10: fatal error: .*No such file or directory$"
    with pytest.warns(UserWarning, match=message) as warned:
        build.build_libraries(ROOT, tmp_path / "objects", targets(tmp_path))
    assert len(warned) == 1
    assert built(tmp_path) == {"_cpu"}
    (name,) = json.loads((tmp_path / build.FAILURES).read_text())
    assert name == "_matching"
    pretend_compiler(tmp_path, monkeypatch, "none")
    build.build_libraries(ROOT, tmp_path / "objects", targets(tmp_path))
    assert built(tmp_path) == {"_cpu", "_matching"}
    assert not (tmp_path / build.FAILURES).exists()


def test_without_pybind11_the_operators_are_built(build, tmp_path, monkeypatch):
    pretend_compiler(tmp_path, monkeypatch, "none")
    monkeypatch.setenv("SPNAS_KERNELS_CUDA", "off")
    found = build.find_spec
    monkeypatch.setattr(build, "find_spec", lambda name: None if name == "pybind11" else found(name))
    with pytest.warns(UserWarning, match="without its matching module: pybind11 is missing"):
        build.build_libraries(ROOT, tmp_path / "objects", targets(tmp_path))
    assert built(tmp_path) == {"_cpu"}


def toolkit(folder, version=13000, nvcc="#!/bin/sh\nexit 0\n"):
    for part in ("bin", "include"):
        (folder / part).mkdir(parents=True)
    (folder / "bin" / "nvcc").write_text(nvcc)
    (folder / "bin" / "nvcc").chmod(0o755)
    (folder / "include" / "cuda_runtime.h").touch()
    (folder / "include" / "cuda_runtime_api.h").write_text(f"#define CUDART_VERSION  {version}\n")
    return folder


def test_a_gpu_that_nvcc_does_not_know_leaves_the_libraries_for_the_cpu(build, tmp_path, monkeypatch):
    major = build.torch_folder() / "version.py"
    number = re.search(r"^cuda.*'(\d+)", major.read_text(), re.MULTILINE)
    nvcc = "#!/bin/sh\necho \"nvcc fatal   : Unsupported gpu architecture 'compute_990'\" >&2\nexit 1\n"
    home = toolkit(tmp_path / "toolkit", int(number[1]) * 1000 if number else 13000, nvcc)
    pretend_compiler(tmp_path, monkeypatch, "none")
    monkeypatch.setenv("CUDA_HOME", str(home))
    monkeypatch.setenv("SPNAS_KERNELS_CUDA", "99.0")
    message = "without its library for CUDA: nvcc fatal .*compute_990'; SPNAS_KERNELS_CUDA=off builds none$"
    with pytest.warns(UserWarning, match=message):
        build.build_libraries(ROOT, tmp_path / "objects", targets(tmp_path))
    assert built(tmp_path) == {"_cpu", "_matching"}
    monkeypatch.setenv("SPNAS_KERNELS_BUILD", "require")
    with pytest.raises(build.BuildError, match=f"could not be built, {message}"):
        build.build_libraries(ROOT, tmp_path / "objects", targets(tmp_path))


def test_a_toolkit_that_is_missing_leaves_the_libraries_for_the_cpu(build, tmp_path, monkeypatch):
    pretend_compiler(tmp_path, monkeypatch, "none")
    monkeypatch.setenv("SPNAS_KERNELS_CUDA", "9.0")
    monkeypatch.setattr(build, "cuda_home", lambda torch: None)
    with pytest.warns(UserWarning, match="without its library for CUDA: no CUDA toolkit found: install one"):
        build.build_libraries(ROOT, tmp_path / "objects", targets(tmp_path))
    assert built(tmp_path) == {"_cpu", "_matching"}


@pytest.mark.parametrize("wanted", ["1", "Require", ""])
def test_a_mode_of_building_that_is_not_known_is_refused(build, tmp_path, monkeypatch, wanted):
    monkeypatch.setenv("SPNAS_KERNELS_BUILD", wanted)
    with pytest.raises(build.BuildError, match=f"SPNAS_KERNELS_BUILD is '{wanted}': choose from auto, require"):
        build.build_libraries(ROOT, tmp_path / "objects", targets(tmp_path))


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("g++", "-ccbin g++"),
        ("ccache g++-13", "-ccbin g++-13"),
        ("/usr/bin/sccache distcc clang++", "-ccbin clang++"),
        ("g++ -m64 -stdlib=x", "-ccbin g++ -Xcompiler -m64 -Xcompiler -stdlib=x"),
        ("'/opt/the compilers/g++'", "-ccbin '/opt/the compilers/g++'"),
        ("ccache", "-ccbin ccache"),
    ],
)
def test_nvcc_is_told_of_the_compiler_alone(build, command, told):
    assert build.host_compiler(command) == told


@pytest.fixture
def torch_of_13(tmp_path, monkeypatch):
    """A torch for CUDA 13 in an environment that holds toolkit wheels and nothing else."""
    for name in ("CUDA_HOME", "CUDA_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path))
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "version.py").write_text("debug = False\ncuda: Optional[str] = '13.0'\nhip = None\n")
    return tmp_path / "torch"


def test_of_several_toolkits_that_of_torchs_major_version_is_taken(build, torch_of_13, tmp_path):
    toolkit(tmp_path / "nvidia" / "cu14", 14010)
    toolkit(tmp_path / "nvidia" / "cu13", 13020)
    assert build.cuda_home(torch_of_13) == tmp_path / "nvidia" / "cu13"


def test_a_toolkit_of_another_major_version_is_taken_with_a_warning(build, torch_of_13, tmp_path, monkeypatch):
    newer = toolkit(tmp_path / "nvidia" / "cu14", 14010)
    with pytest.warns(UserWarning, match=r"cu14 is of version 14, and torch was built for 13: .* name a toolkit of"):
        assert build.cuda_home(torch_of_13) == newer
    older = toolkit(tmp_path / "mine", 12080)
    monkeypatch.setenv("CUDA_HOME", str(older))
    with pytest.warns(UserWarning, match="mine is of version 12, and torch was built for 13"):
        assert build.cuda_home(torch_of_13) == older  # it was named


def test_a_toolkit_beside_a_torch_without_cuda_is_nobodys_fault(build, torch_of_13, tmp_path):
    (torch_of_13 / "version.py").write_text("cuda: Optional[str] = None\n")
    assert build.cuda_home(torch_of_13) is None
    home = toolkit(tmp_path / "nvidia" / "cu12", 12080)
    assert build.cuda_home(torch_of_13) == home


def test_the_python_side_knows_the_interface_that_the_libraries_are_built_by(build, tmp_path):
    """Changed on purpose? In csrc, ``python -c "import native_build as b; print(b.interface(b.Path()))"`` tells it."""
    assert build.interface(ROOT) == _library.INTERFACE
    for name in ("copy_weights", "match_detections"):
        shutil.copytree(ROOT / name, tmp_path / name)
    one = build.interface(tmp_path)
    with (tmp_path / "copy_weights" / "schema.cpp").open("a") as schema:
        schema.write("// more\n")
    assert build.interface(tmp_path) != one


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
    monkeypatch.setattr(build, "cuda_home", lambda torch: Path("/toolkit"))
    assert build.cuda_architectures(wanted) == architectures


def test_without_a_gpu_nothing_is_built_for_cuda_unless_asked_for(build, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert build.cuda_architectures("auto") == ()
    monkeypatch.setattr(build, "cuda_home", lambda torch: None)
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
    for folder in ("common", "match_detections"):
        shutil.copytree(ROOT / folder, root / folder)
    monkeypatch.setenv("SPNAS_KERNELS_BUILD", "require")
    monkeypatch.setenv("SPNAS_KERNELS_CXXFLAGS", "-O0")
    ninja_file = build.NinjaFile(root, tmp_path)
    ninja_file.matching_module(root / "_matching.so")
    (tmp_path / "build.ninja").write_text(ninja_file.text())
    subprocess.run([build.find_ninja(), "-C", str(tmp_path)], check=True, capture_output=True)
    assert (root / "_matching.so").exists()


def statements(ninja_file):
    """Output → flags or libraries of what is built."""
    found = re.findall(r"^build (\S+): .*\n  (?:flags|libraries) = (.*)$", ninja_file.text(), re.MULTILINE)
    return {Path(output).name: flags for output, flags in found}


def all_libraries(build, folder):
    ninja_file = build.NinjaFile(ROOT, folder)
    ninja_file.cpu_library(folder / "_cpu.so")
    ninja_file.matching_module(folder / "_matching.so")
    return ninja_file


@pytest.mark.parametrize("machine", ["x86_64", "aarch64", "arm64"])
def test_only_inner_loops_of_roi_align_may_round_products_and_sums_at_once(build, tmp_path, monkeypatch, machine):
    monkeypatch.setattr(platform, "machine", lambda: machine)
    ninja_file = all_libraries(build, tmp_path)
    (common,) = re.findall("^common = (.*)$", ninja_file.text(), re.MULTILINE)
    assert "-ffp-contract=off" in common  # gcc's own choice is fast, and on aarch64 every processor can
    fast = {output for output, flags in statements(ninja_file).items() if "-ffp-contract=fast" in flags}
    sets = ("baseline", "avx2", "avx512") if machine == "x86_64" else ("baseline",)
    assert fast == {f"roi_align_fpn_kernel_{name}.o" for name in sets}


COMPILERS = [name for name in ("g++", "clang++", "aarch64-linux-gnu-g++") if shutil.which(name)]


@pytest.mark.parametrize("compiler", COMPILERS)
def test_overlaps_are_computed_without_contraction(build, tmp_path, monkeypatch, compiler):
    """What the compiler made of the flags, in the instructions: gcc and clang, and aarch64 where they are installed."""
    machine, multiply_add = "x86_64", r"\bvfn?m(add|sub)"
    tool = "objdump"
    if compiler.startswith("aarch64"):
        machine, multiply_add, tool = "aarch64", r"\bfn?m(add|sub|la|ls)\b", "aarch64-linux-gnu-objdump"
    elif platform.machine() != machine or shutil.which(tool) is None:
        pytest.skip("needs an x86-64 machine with objdump")
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setenv("CXX", compiler)
    ninja_file = all_libraries(build, tmp_path)
    (tmp_path / "build.ninja").write_text(ninja_file.text())
    suffix = "avx2" if machine == "x86_64" else "baseline"
    outputs = [
        f"{name}_kernel_{suffix}.o" for name in ("nms_grouped", "assign_targets", "copy_weights", "roi_align_fpn")
    ]
    subprocess.run([build.find_ninja(), "-C", str(tmp_path), *outputs], check=True, capture_output=True)
    counts = {}
    for output in outputs:
        listing = subprocess.run([tool, "-d", tmp_path / output], check=True, capture_output=True, text=True)
        counts[output] = len(re.findall(multiply_add, listing.stdout))
    assert counts.pop(outputs[-1]) > 0  # so the pattern finds some where there are some
    assert set(counts.values()) == {0}, counts


def test_on_linux_libraries_are_linked_as_shared_objects(build, tmp_path, monkeypatch):
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    ninja_file = all_libraries(build, tmp_path)
    assert re.search(r"rule link\n  command = \S+ -shared \$in", ninja_file.text())
    assert statements(ninja_file)["_cpu.so"] == f"-L{build.torch_folder() / 'lib'} -ltorch_cpu -lc10"
    assert statements(ninja_file)["_matching.so"] == "-pthread"


def test_on_macos_libraries_are_linked_as_its_linker_wants_them(build, tmp_path, monkeypatch):
    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    monkeypatch.setattr(platform, "machine", lambda: "arm64")
    ninja_file = all_libraries(build, tmp_path)
    assert re.search(r"rule link\n  command = \S+ -bundle -undefined dynamic_lookup \$in", ninja_file.text())
    libraries = statements(ninja_file)
    lib = build.torch_folder() / "lib"
    assert libraries["_cpu.so"] == (f"-L{lib} -ltorch_cpu -lc10 -Wl,-rpath,@loader_path/../torch/lib -Wl,-rpath,{lib}")
    assert libraries["_matching.so"] == ""
    assert "-shared" not in ninja_file.text()
    assert not re.search("SPNAS_X86|-mavx|--as-needed|-soname|no-undefined", ninja_file.text())
