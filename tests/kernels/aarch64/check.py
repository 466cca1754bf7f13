"""Compiles the CPU libraries for aarch64, runs their inner loops under qemu, and compares with this machine.

nox -s aarch64    (Debian: apt install g++-aarch64-linux-gnu qemu-user)
"""

import argparse
import math
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3] / "csrc"
DRIVER = Path(__file__).with_name("driver.cpp")
CROSS = "aarch64-linux-gnu-g++"
QEMU = ("qemu-aarch64", "-L", "/usr/aarch64-linux-gnu")
TOLERANCE = 2e-6

sys.path.insert(0, str(ROOT))
import native_build  # noqa: E402 (the build is no package)


def build(machine: str, compiler: str, folder: Path, *, everything: bool) -> Path:
    """Compile the objects, all of them or the inner loops, and link the driver with the inner loops."""
    platform.machine = lambda: machine
    os.environ["CXX"] = compiler
    folder.mkdir(parents=True, exist_ok=True)
    ninja_file = native_build.NinjaFile(ROOT, folder)
    ninja_file.cpu_library(folder / "_cpu.so")
    ninja_file.matching_module(folder / "_matching.so")
    kernels = [f"{name}_kernel_baseline.o" for name in ninja_file.operators]
    objects = [line.split()[1].rstrip(":") for line in ninja_file.lines if line.startswith("build ") and ".o:" in line]
    ninja_file.lines += [f"build driver.o: cxx {native_build.in_build(DRIVER)}", "  flags = "]
    ninja_file._link(["driver.o", *kernels], folder / "driver", "-pthread")
    text = ninja_file.text().replace(" -shared $in", " $in")  # a program
    (folder / "build.ninja").write_text(text)
    wanted = [*(objects if everything else []), str(folder / "driver")]
    subprocess.run([native_build.find_ninja(), "-C", str(folder), *wanted], check=True)
    return folder / "driver"


def differences(here: str, there: str) -> list[str]:
    """What the two outputs do not agree in."""
    found = []
    ours, theirs = here.splitlines(), there.splitlines()
    if len(ours) != len(theirs) or not ours:
        found.append(f"{len(ours)} lines here and {len(theirs)} under qemu")
    for one, other in zip(ours, theirs, strict=False):
        if one.startswith("close"):
            values = [[float(word) for word in line.split()[2:]] for line in (one, other)]
            largest = max(map(abs, values[0]))
            near = (math.isclose(a, b, abs_tol=TOLERANCE * largest) for a, b in zip(*values, strict=True))
            if largest == 0 or not all(near):
                found.append(f"{' '.join(one.split()[:2])} differs by more than {TOLERANCE}")
        elif one != other or not one.startswith("exact"):
            found.append(f"{one} here, {other} under qemu")
    return found


def main() -> None:
    """Build twice, run twice, compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="for objects")
    folder = parser.parse_args().folder.resolve()
    missing = [tool for tool in (CROSS, QEMU[0]) if shutil.which(tool) is None]
    if missing:
        raise SystemExit(f"{' and '.join(missing)} not found: apt install g++-aarch64-linux-gnu qemu-user")
    here = build(platform.machine(), os.environ.get("CXX", "g++"), folder / "here", everything=False)
    there = build("aarch64", CROSS, folder / "aarch64", everything=True)
    outputs = [
        subprocess.run([*command, str(driver)], check=True, capture_output=True, text=True).stdout
        for command, driver in (((), here), (QEMU, there))
    ]
    found = differences(*outputs)
    print(*found, f"{len(outputs[0].splitlines())} results compared, {len(found)} differ", sep="\n")
    raise SystemExit(1 if found else 0)


if __name__ == "__main__":
    main()
