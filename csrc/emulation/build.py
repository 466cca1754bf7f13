"""Compiles the device code of an operator for the CPU, under sanitizers; perhaps with a fault put in.

gcc and binutils are needed.
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
    *(
        "-Wall",
        "-Wextra",
        "-Wno-sign-compare",
        "-Wno-unknown-pragmas",
        "-DSPNAS_EMULATED",
        "-ftrivial-auto-var-init=pattern",
    ),
)
SANITIZED = ("-fsanitize=address,undefined", "-fno-sanitize-recover=undefined")
ALIGNMENT = r"(?:__align__\(\d+\)|alignas\(\d+\))\s+"
DYNAMIC_SHARED = re.compile(rf"extern\s+__shared__\s+(?:{ALIGNMENT})?(\w[\w: ]*?)\s+(\w+)\[\];")


@dataclass(frozen=True)
class Fault:
    """A mistake in a copy of the device code: a text that must be there exactly once, and what takes its place."""

    name: str
    operator: str
    text: str
    replacement: str


def build(operator: str, folder: Path, fault: Fault | None = None, *, finds_races: bool = False) -> Path:
    """Compile an operator's device code into a folder that exists, and return the library's path.

    Objects of the emulated device itself lie in the folder above and are taken from there if they exist.

    Args:
        operator: its folder's name.
        folder: for the library and what it is made of.
        fault: a mistake to put in.
        finds_races: look for accesses that nothing puts in order, in place of what AddressSanitizer and UBSan find.

    Raises:
        ValueError: the fault's text is not there, or is there more than once: the device code has changed.
        CalledProcessError: the compiler failed.
    """
    headers = folder / "headers"
    stage(headers, fault)
    flags = ("-fsanitize=thread",) if finds_races else SANITIZED
    library = folder / f"{operator}.so"
    launches = folder / f"{operator}.o"
    compile_to(launches, *flags, "-c", f"-I{headers}", ROOT / "emulation" / f"{operator}.cpp")
    move_shared_memory(launches)
    # The compiler tells races.cpp of each access: ThreadSanitizer itself stays out.
    link_flags = () if finds_races else SANITIZED
    compile_to(library, *link_flags, "-shared", launches, *machine(folder.parent, finds_races=finds_races))
    return library


def machine(folder: Path, *, finds_races: bool = False) -> list[Path]:
    """Objects of the emulated device, compiled if they are not in the folder yet."""
    flags = () if finds_races else SANITIZED
    objects = []
    for name in ("machine", "fiber", "races" if finds_races else "no_races"):
        target = folder / f"{name}{'_for_races' if finds_races else ''}.o"
        if not target.exists():
            compile_to(target, *flags, "-c", ROOT / "emulation" / f"{name}.cpp")
        objects.append(target)
    return objects


def move_shared_memory(launches: Path) -> None:
    """Give an object's zeroed variables, which are its shared memory, a section that the machine finds by its name."""
    flags = "alloc,load,data,contents"
    move = [tool("objcopy"), "--set-section-flags", f".bss={flags}", "--rename-section", f".bss=spnas_shared,{flags}"]
    subprocess.run([*move, str(launches)], check=True)


def tool(name: str) -> str:
    """Path of one of gcc's programs."""
    found = shutil.which(name)
    if found is None:
        raise FileNotFoundError(f"{name} is missing, which emulated kernels are built with")
    return found


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
