"""Which CUDA toolkit the kernels are built with, and how its compiler is told of the host's."""

import os
import re
import shlex
import shutil
import subprocess
import sysconfig
import warnings
from pathlib import Path

LAUNCHERS = frozenset({"ccache", "distcc", "icecc", "sccache"})  # what stands before a compiler and is none


def torch_major(torch: Path) -> int | None:
    """CUDA's major version that the torch in a folder was built for; None for none."""
    return _number(torch / "version.py", r"""^cuda\b.*=\s*['"](\d+)""")


def toolkit_major(home: Path) -> int | None:
    """The major version of a CUDA toolkit, as its headers say; None where they do not."""
    version = _number(home / "include" / "cuda_runtime_api.h", r"#define\s+CUDART_VERSION\s+(\d+)")
    return None if version is None else version // 1000


def _number(path: Path, pattern: str) -> int | None:
    try:
        found = re.search(pattern, path.read_text(errors="replace"), re.MULTILINE)
    except OSError:
        return None
    return int(found[1]) if found else None


def cuda_home(torch: Path) -> Path | None:
    """The CUDA toolkit: CUDA_HOME; else the toolkit wheels or what belongs to the nvcc on the PATH.

    Of those that were not named, one of the major version that torch was built for goes before the others.

    Args:
        torch: the folder in which it is installed.
    """
    named = [Path(home) for home in (os.environ.get("CUDA_HOME"), os.environ.get("CUDA_PATH")) if home]
    chosen = next(filter(is_toolkit, named), None)
    major = torch_major(torch)
    if chosen is None:
        found = list(filter(is_toolkit, found_toolkits()))
        chosen = next((home for home in found if toolkit_major(home) == major), found[0] if found else None)
    if chosen is not None and None not in {major, toolkit_major(chosen)} and toolkit_major(chosen) != major:
        warnings.warn(
            f"the CUDA toolkit in {chosen} is of version {toolkit_major(chosen)}, and torch was built for {major}: the "
            f"library for CUDA may not load; name a toolkit of version {major} in CUDA_HOME",
            stacklevel=2,
        )
    return chosen


def is_toolkit(home: Path) -> bool:
    """Say whether a folder holds what a build for CUDA needs."""
    return (home / "bin" / "nvcc").exists() and (home / "include" / "cuda_runtime.h").exists()


def found_toolkits() -> list[Path]:
    """Where a toolkit may be that nobody has named: among the wheels, then around the nvcc on the PATH."""
    candidates = sorted(Path(sysconfig.get_path("purelib"), "nvidia").glob("cu[0-9]*"), reverse=True)
    nvcc = shutil.which("nvcc")
    if nvcc is None:
        return candidates
    # An nvcc on the PATH may be a script in front of the real one, which alone knows where its toolkit is.
    dry_run = subprocess.run([nvcc, "--dryrun", "-x", "cu", os.devnull], capture_output=True, text=True, check=False)
    found = re.search(r"^#\$ TOP=(.+)$", dry_run.stderr, re.MULTILINE)
    if found:
        candidates.append(Path(Path(nvcc).resolve().parent, found[1]).resolve())
    return [*candidates, Path(nvcc).resolve().parents[1], Path(nvcc).parents[1] / "cuda"]


def host_compiler(command: str) -> str:
    """How nvcc is told of a C++ compiler, in a ninja command: by its program alone, with its flags handed on."""
    words = shlex.split(command)
    while len(words) > 1 and Path(words[0]).stem in LAUNCHERS:
        del words[0]
    program, *flags = (shlex.quote(word).replace("$", "$$") for word in words)
    return " ".join([f"-ccbin {program}", *(f"-Xcompiler {flag}" for flag in flags)])
