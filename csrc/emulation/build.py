"""Compiles the device code of an operator for the CPU, under AddressSanitizer and UBSan; perhaps with a fault put in.

gcc is needed: other compilers put no guards around variables in a section of their own, which shared memory is.
"""

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
STAND_INS = ROOT / "emulation" / "stand_ins"
OPERATORS = ("roi_align_fpn", "nms_grouped", "assign_targets", "copy_weights")
FLAGS = (
    *("-std=c++20", "-O1", "-g1", "-fPIC", "-fvisibility=hidden", "-fno-omit-frame-pointer", "-ffp-contract=off"),
    *("-Wall", "-Wextra", "-Werror", "-Wno-unknown-pragmas", "-DSPNAS_EMULATED"),
    *("-fsanitize=address,undefined", "-fno-sanitize-recover=undefined", "-fsanitize-sections=spnas_shared"),
    "-ftrivial-auto-var-init=pattern",
)
ALIGNMENT = r"(?:__align__\(\d+\)|alignas\(\d+\))\s+"
DYNAMIC_SHARED = re.compile(rf"extern\s+__shared__\s+(?:{ALIGNMENT})?(\w[\w: ]*?)\s+(\w+)\[\];")


@dataclass(frozen=True)
class Fault:
    """A mistake in a copy of the device code: a text that must be there exactly once, and what takes its place."""

    name: str
    operator: str
    text: str
    replacement: str


def build(operator: str, folder: Path, fault: Fault | None = None) -> Path:
    """Compile an operator's device code into a folder that exists, and return the library's path.

    Objects of the emulated device itself lie in the folder above and are taken from there if they exist.

    Raises:
        ValueError: the fault's text is not there, or is there more than once: the device code has changed.
        CalledProcessError: the compiler failed.
    """
    headers = folder / "headers"
    stage(headers, fault)
    library = folder / f"{operator}.so"
    source = ROOT / "emulation" / f"{operator}.cpp"
    compile_to(library, "-shared", f"-I{headers}", source, *machine(folder.parent))
    return library


def machine(folder: Path) -> list[Path]:
    """Objects of the emulated device, compiled if they are not in the folder yet."""
    objects = []
    for name in ("machine", "fiber"):
        target = folder / f"{name}.o"
        if not target.exists():
            compile_to(target, "-c", ROOT / "emulation" / f"{name}.cpp")
        objects.append(target)
    return objects


def compile_to(target: Path, *arguments: str | Path) -> None:
    """Compile, with what emulated kernels include on the path."""
    compiler = shutil.which("g++")
    if compiler is None:
        raise FileNotFoundError("g++ is missing, which compiles emulated kernels")
    subprocess.run(
        [compiler, *FLAGS, *map(str, arguments), f"-I{STAND_INS}", f"-I{ROOT}", "-o", str(target)], check=True
    )


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
