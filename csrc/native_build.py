"""The ninja file of the native libraries: which sources, which compiler, which flags."""

import json
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import warnings
import zlib
from collections.abc import Callable, Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path

from cuda_toolkit import cuda_home, host_compiler

WHEEL_ARCHITECTURES = ("8.0", "8.6", "8.9", "9.0+PTX")
TORCH_TARGET = "0x020b000000000000"  # the stable ABI of torch 2.11

FAILURES = "_failures.json"  # library → why it could not be built; spnas_kernels._library reads it
NAMES = {"_cpu": "its library for the CPU", "_matching": "its matching module", "_cuda": "its library for CUDA"}
REMEDIES = {"_cuda": "; SPNAS_KERNELS_CUDA=off builds none"}
COMPLAINT = re.compile(r"\b(error|fatal)\b|not found|cannot find")

ISA_FLAGS = {
    "baseline": "",
    "avx2": "-mavx2 -mfma -mf16c",
    "avx512": "-mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx2 -mfma -mf16c",
}

# Whose inner loops may round a product and a sum at once; everywhere else coordinates and overlaps must come out the
# same on every machine. Flags and no pragmas: under -ffp-contract=fast clang does not heed them everywhere.
CONTRACTED = frozenset({"roi_align_fpn"})


class BuildError(RuntimeError):
    """Something that the build needs is missing, or the compiler failed."""


def build_libraries(root: Path, folder: Path, targets: Mapping[str, Path]) -> None:
    """Build ``_cpu``, ``_matching`` and perhaps ``_cuda``: each that can be, whatever becomes of the others.

    Why one is missing is told, and stays in ``FAILURES`` beside the libraries.

    Args:
        root: where the sources are.
        folder: for objects and the ninja file.
        targets: where each library shall be written.

    Raises:
        BuildError: a variable has a value that is not known; a build failed and SPNAS_KERNELS_BUILD=require.
    """
    is_required = must_succeed()
    failures: dict[str, str] = {}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        ninja_file = NinjaFile(root, folder)
    except (BuildError, OSError) as error:
        failures = dict.fromkeys(targets, str(error))
    else:
        wanted = add_libraries(ninja_file, targets, failures)
        (folder / "build.ninja").write_text(ninja_file.text())
        for name in wanted:
            try:
                run_ninja(folder, targets[name])
            except (BuildError, OSError) as error:
                failures[name] = f"{error}{REMEDIES.get(name, '')}"
    keep_failures(failures, {target.parent for target in targets.values()})
    told = [f"without {NAMES[name]}: {reason}" for name, reason in failures.items()]
    if len(failures) == len(targets) and len(set(failures.values())) == 1:
        told = [f"without its native libraries: {next(iter(failures.values()))}"]
    if told and is_required:
        raise BuildError(f"spnas-kernels could not be built, {'; '.join(told)}")
    for reason in told:
        warnings.warn(f"spnas-kernels is installed {reason}", stacklevel=1)


def must_succeed() -> bool:
    """Say whether SPNAS_KERNELS_BUILD makes a failing build an error.

    Raises:
        BuildError: it says something else.
    """
    wanted = os.environ.get("SPNAS_KERNELS_BUILD", "auto")
    if wanted not in {"auto", "require"}:
        raise BuildError(f"SPNAS_KERNELS_BUILD is {wanted!r}: choose from auto, require")
    return wanted == "require"


def add_libraries(ninja_file: "NinjaFile", targets: Mapping[str, Path], failures: dict[str, str]) -> list[str]:
    """Collect the steps of every library that is wanted here, and in ``failures`` why there are none of another."""

    def add_cuda() -> bool:
        architectures = cuda_architectures(os.environ.get("SPNAS_KERNELS_CUDA", "auto"))
        if architectures:
            ninja_file.cuda_library(targets["_cuda"], architectures)
        return bool(architectures)

    steps: dict[str, Callable[[], object]] = {
        "_cpu": lambda: ninja_file.cpu_library(targets["_cpu"]),
        "_matching": lambda: ninja_file.matching_module(targets["_matching"]),
        "_cuda": add_cuda,
    }
    wanted = []
    for name, add in steps.items():
        try:
            if add() is not False:
                wanted.append(name)
        except (BuildError, OSError) as error:
            failures[name] = str(error)
    return wanted


def run_ninja(folder: Path, target: Path) -> None:
    """Build one library; what the compilers say is printed.

    Raises:
        BuildError: it failed; with the compilers' first complaint.
    """
    command = [find_ninja(), "-C", str(folder), str(target)]
    complaint = None
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as ninja:
        for line in ninja.stdout or ():
            sys.stdout.write(line)
            if complaint is None and COMPLAINT.search(line):
                complaint = line.strip()
    if ninja.returncode:
        raise BuildError(complaint or f"ninja ended with {ninja.returncode}")


def keep_failures(failures: Mapping[str, str], folders: Iterable[Path]) -> None:
    """Write why libraries are missing to where they are looked for; a build without failures leaves no file."""
    for folder in folders:
        path = folder / FAILURES
        if failures:
            folder.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(dict(failures), indent=1))
        else:
            path.unlink(missing_ok=True)


def editable_folder() -> str:
    """Name of the folder for the objects of an editable install: one for each environment."""
    return f"{sysconfig.get_config_var('SOABI')}-{zlib.crc32(sysconfig.get_path('purelib').encode()):08x}"


def interface(root: Path) -> str:
    """A name of what Python calls, by the text that declares it; ``spnas_kernels._library`` knows the one it fits."""
    paths = [*sorted(root.glob("*/schema.cpp")), root / "match_detections" / "module.cpp"]
    return f"i{zlib.crc32(b''.join(path.read_bytes() for path in paths)):08x}"


def find_ninja() -> str:
    """Path of ninja, from its wheel or the system."""
    if find_spec("ninja") is not None:
        import ninja

        return str(Path(ninja.BIN_DIR) / "ninja")
    found = shutil.which("ninja")
    if found is None:
        raise BuildError("ninja is missing: pip install ninja")
    return found


def find_compiler() -> str:
    """The C++ compiler."""
    compiler = os.environ.get("CXX") or shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
    if not compiler:
        raise BuildError("no C++ compiler found: install one (for example g++) or name it in CXX")
    return compiler


def torch_folder() -> Path:
    """Where torch is installed; it is not imported."""
    spec = find_spec("torch")
    if spec is None or spec.origin is None:
        raise BuildError("torch is missing: install torch >= 2.11 first and build with --no-build-isolation")
    return Path(spec.origin).parent


def cuda_architectures(wanted: str) -> tuple[str, ...]:
    """Compute capabilities to build for; empty for none.

    Raises:
        BuildError: CUDA is asked for by name and there is no toolkit, or the text names no capability.
    """
    if wanted == "off":
        return ()
    if wanted == "auto":
        visible = shutil.which("nvidia-smi")
        if visible is None or cuda_home(torch_folder()) is None:
            return ()
        query = [visible, "--query-gpu=compute_cap", "--format=csv,noheader"]
        found = subprocess.run(query, capture_output=True, text=True, check=False)
        return tuple(sorted(set(re.findall(r"^\d+\.\d+$", found.stdout, re.MULTILINE))))
    architectures = WHEEL_ARCHITECTURES if wanted == "wheel" else tuple(filter(None, re.split(r"[;,\s]+", wanted)))
    if not architectures:
        raise BuildError(f"SPNAS_KERNELS_CUDA is {wanted!r}: choose auto, off, wheel or a list such as 8.0;9.0+PTX")
    for architecture in architectures:
        if not re.fullmatch(r"\d+\.\d+[af]?(\+PTX)?", architecture):
            raise BuildError(f"SPNAS_KERNELS_CUDA names {architecture!r}: capabilities look like 9.0 or 9.0+PTX")
    if cuda_home(torch_folder()) is None:
        raise BuildError("no CUDA toolkit found: install one, set CUDA_HOME, or set SPNAS_KERNELS_CUDA=off")
    return architectures


def in_command(path: Path | str) -> str:
    """A path as part of a ninja command, which a shell reads."""
    return shlex.quote(str(path)).replace("$", "$$")


def in_build(path: Path | str) -> str:
    """A path as input or output of a ninja build statement."""
    return re.sub(r"([$ :])", r"$\1", str(path))


class NinjaFile:
    """Collects compile and link steps.

    Args:
        root: where the sources are.
        folder: where the objects go.
    """

    def __init__(self, root: Path, folder: Path) -> None:
        self.root = root
        self.folder = folder
        self.torch = torch_folder()
        self.compiler = find_compiler()
        self.is_x86 = platform.machine().lower() in {"x86_64", "amd64"}
        self.is_mac = platform.system() == "Darwin"
        self.operators = sorted(path.parent.name for path in root.glob("*/schema.cpp"))
        self.lines: list[str] = []
        self._rules()

    def text(self) -> str:
        """The file."""
        return "\n".join(self.lines) + "\n"

    def _rules(self) -> None:
        extra = os.environ.get("SPNAS_KERNELS_CXXFLAGS", "")
        extra_link = os.environ.get("SPNAS_KERNELS_LDFLAGS", "")
        common = (
            "-std=c++20 -O3 -fPIC -fvisibility=hidden -Wall -Wextra -Wno-unused-parameter -ffp-contract=off "
            f"-ffile-prefix-map={in_command(self.root)}=. -I{in_command(self.root)} "
            f"{'-DSPNAS_X86' if self.is_x86 else ''} {extra}"
        )
        self.stable_abi = f"-isystem {in_command(self.torch / 'include')} -DTORCH_TARGET_VERSION={TORCH_TARGET}"
        self.lines += [
            "ninja_required_version = 1.5",
            f"common = {common}",
            "rule cxx",
            f"  command = {self.compiler} $common $flags -MMD -MF $out.d -c $in -o $out",
            "  depfile = $out.d",
            "  deps = gcc",
            "  description = compile $in $flags",
            "rule link",
            f"  command = {self.compiler} {self._shared()} $in -o $out $libraries {extra_link}",
            "  description = link $out",
        ]

    def _shared(self) -> str:
        """What makes a library that Python or torch loads; symbols of the interpreter are found then."""
        return "-bundle -undefined dynamic_lookup" if self.is_mac else "-shared"

    def _torch_libraries(self) -> str:
        """Linker flags for torch's own libraries, which are in the process before this one is loaded."""
        folder = self.torch / "lib"
        flags = f"-L{in_command(folder)} -ltorch_cpu -lc10"
        if (
            self.is_mac
        ):  # where @rpath/libtorch_cpu.dylib is looked for: beside an installed package, else in this torch
            flags += f" -Wl,-rpath,@loader_path/../torch/lib -Wl,-rpath,{in_command(folder)}"
        return flags

    def _object(self, source: str, flags: str = "", suffix: str = "", rule: str = "cxx") -> str:
        output = f"{source.replace('/', '_').rpartition('.')[0]}{suffix}.o"
        self.lines += [f"build {output}: {rule} {in_build(self.root / source)}", f"  flags = {flags}"]
        return output

    def _interface(self) -> str:
        """The object that names the interface; compiled once for all libraries."""
        output = "common_interface.o"
        is_new = not any(line.startswith(f"build {output}:") for line in self.lines)
        return self._object("common/interface.cpp", f"-DSPNAS_INTERFACE={interface(self.root)}") if is_new else output

    def _link(self, objects: Iterable[str], output: Path, libraries: str, rule: str = "link") -> None:
        self.lines += [f"build {in_build(output)}: {rule} {' '.join(objects)}", f"  libraries = {libraries}"]

    def _isas(self) -> Mapping[str, str]:
        return ISA_FLAGS if self.is_x86 else {"baseline": ""}

    def cpu_library(self, output: Path) -> None:
        """Schemas and CPU kernels of all operators."""
        objects = [self._interface(), self._object("common/isa.cpp")]
        for name in self.operators:
            objects += [self._object(f"{name}/{part}.cpp", self.stable_abi) for part in ("schema", "cpu")]
            if (self.root / name / "kernel.cpp").exists():
                contraction = "-ffp-contract=fast" if name in CONTRACTED else ""
                objects += [
                    self._object(f"{name}/kernel.cpp", f"-DSPNAS_ISA={isa} {flags} {contraction}", f"_{isa}")
                    for isa, flags in self._isas().items()
                ]
        self._link(objects, output, self._torch_libraries())

    def matching_module(self, output: Path) -> None:
        """The pybind11 module."""
        if find_spec("pybind11") is None:
            raise BuildError("pybind11 is missing: pip install pybind11")
        import pybind11

        folders = (sysconfig.get_path("include"), pybind11.get_include())
        includes = " ".join(f"-isystem {in_command(folder)}" for folder in folders)
        objects = [self._interface(), self._object("match_detections/module.cpp", includes)]
        self._link(objects, output, "" if self.is_mac else "-pthread")

    def cuda_library(self, output: Path, architectures: Iterable[str]) -> None:
        """CUDA kernels of all operators; linked with the static runtime, so that it loads where there is no GPU."""
        home = cuda_home(self.torch)
        if home is None:
            raise BuildError("no CUDA toolkit found")
        folders = (home / "lib", home / "lib64", self.torch / "lib")
        codes = []
        for architecture in architectures:
            number = architecture.removesuffix("+PTX").replace(".", "")
            codes.append(f"-gencode=arch=compute_{number},code=sm_{number}")
            if architecture.endswith("+PTX"):
                codes.append(f"-gencode=arch=compute_{number},code=compute_{number}")
        nvcc = in_command(home / "bin" / "nvcc")
        compiler = host_compiler(self.compiler)
        root = in_command(self.root)
        host_flags = f"-fPIC,-fvisibility=hidden,-ffp-contract=off,-ffile-prefix-map={root}=."
        flags = (
            f"-std=c++20 -O3 -DUSE_CUDA -I{root} {self.stable_abi} -Xcompiler {host_flags} --expt-relaxed-constexpr "
            f"{' '.join(codes)} --threads 0"
        )
        self.lines += [
            "rule nvcc",
            f"  command = {nvcc} {compiler} {flags} -MD -MF $out.d -c $in -o $out",
            "  depfile = $out.d",
            "  deps = gcc",
            "  description = nvcc $in",
            "library_paths = " + " ".join(f"-L{in_command(folder)}" for folder in folders),
            "rule link_cuda",
            f"  command = {nvcc} {compiler} -shared -cudart static $library_paths $in -o $out $libraries",
            "  description = link $out",
        ]
        objects = [self._interface()]
        objects += [self._object(f"{name}/cuda.cu", suffix="_cuda", rule="nvcc") for name in self.operators]
        self._link(objects, output, "-ltorch_cpu -ltorch_cuda -lc10", rule="link_cuda")
