"""Compiles the device code of an operator for the CPU, under AddressSanitizer and UBSan; perhaps with a fault put in.

gcc is needed: other compilers put no guards around variables in a section of their own, which shared memory is.
"""

import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
OPERATORS = ("roi_align_fpn", "nms_grouped", "assign_targets", "copy_weights")
FLAGS = (
    "-std=c++20 -O1 -g -fPIC -fvisibility=hidden -fno-omit-frame-pointer -ffp-contract=off -Wall -Wextra -Werror "
    "-Wno-unknown-pragmas -fsanitize=address,undefined -fno-sanitize-recover=undefined -fsanitize-sections=spnas_shared "
    "-ftrivial-auto-var-init=pattern -DSPNAS_EMULATED"
).split()
DYNAMIC_SHARED = re.compile(r"extern\s+__shared__\s+(?:__align__\(\d+\)\s+|alignas\(\d+\)\s+)?(\w[\w: ]*?)\s+(\w+)\[\];")


@dataclass(frozen=True)
class Fault:
    """A mistake to make in a copy of the device code: one text, which must be there exactly once, and another in its place."""

    name: str
    operator: str
    text: str
    replacement: str


def build(operator: str, folder: Path, fault: Fault | None = None) -> Path:
    """Compile into ``folder``, which is made, and return the library's path.

    Raises:
        ValueError: the fault's text is not there, or is there more than once: the device code has changed.
        CalledProcessError: the compiler failed.
    """
    headers = folder / "headers"
    shutil.rmtree(headers, ignore_errors=True)
    stage(headers, fault)
    library = folder / f"{operator}.so"
    sources = [ROOT / "emulation" / name for name in ("machine.cpp", "fiber.cpp", f"{operator}.cpp")]
    compile_library(sources, library, (headers, ROOT))
    return library


def compile_library(sources: Sequence[Path], library: Path, includes: Sequence[Path] = (ROOT,)) -> None:
    """Compile and link sources that see the emulated device."""
    folders = [f"-I{folder}" for folder in (ROOT / "emulation" / "stand_ins", *includes)]
    subprocess.run(["g++", *FLAGS, *folders, "-shared", *map(str, sources), "-o", str(library)], check=True)


def stage(headers: Path, fault: Fault | None) -> None:
    """Copy what device code consists of, with the fault in it and with dynamic shared memory as C++ can say it."""
    found = 0
    for path in sorted((*ROOT.glob("*/*.cuh"), *ROOT.glob("*/arithmetic.h"))):
        text = path.read_text()
        if fault is not None and path.parent.name == fault.operator:
            found += text.count(fault.text)
            text = text.replace(fault.text, fault.replacement)
        target = headers / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(DYNAMIC_SHARED.sub(r"SPNAS_DYNAMIC_SHARED(\1, \2);", text))
    if fault is not None and found != 1:
        raise ValueError(
            f"the text of the fault {fault.name!r} is {found} times in {fault.operator}'s device code, not once: "
            f"it has changed, so the fault must, too\n{fault.text}"
        )
