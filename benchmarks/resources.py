"""What the CUDA kernels cost, read off the compiler: no GPU is needed, only nvcc.

python benchmarks/resources.py [ARCHITECTURE …]

For each kernel registers, bytes of spilled registers, static shared memory, and the widest loads and reductions of its
PTX: bytes that one thread moves at a time.
"""

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent / "csrc"
sys.path.insert(0, str(ROOT))

import sectors  # noqa: E402 - it lies beside this file
from native_build import NinjaFile, cuda_home, torch_folder  # noqa: E402 - it lies beside the sources that it builds

ARCHITECTURES = ("8.0", "9.0")
_ACCESS = re.compile(r"\b(ld|st|red|atom)((?:\.[a-z0-9_:]+)*)\.[bsuf](\d+)\b")
_ELSEWHERE = {"shared", "param", "local", "const"}
_COMPILED = re.compile(r"Compiling entry function '(\S+)' for '(\S+)'")


@dataclass(frozen=True)
class Kernel:
    """One kernel for one architecture."""

    name: str
    registers: int
    spilled: int
    shared: int
    accesses: str

    def __str__(self) -> str:
        return f"| `{self.name}` | {self.registers} | {self.spilled} | {self.shared} | {self.accesses} |"


def kernels(operator: str, architecture: str) -> Iterator[Kernel]:
    """Compile an operator's CUDA file, and read what the compiler says of its kernels."""
    home = cuda_home(torch_folder())
    if home is None:
        raise SystemExit("no CUDA toolkit found: install one, or set CUDA_HOME")
    number = architecture.replace(".", "")
    with tempfile.TemporaryDirectory() as folder:
        command = [
            *(home / "bin" / "nvcc", "-std=c++20", "-O3", "-DUSE_CUDA", f"-I{ROOT}", "--expt-relaxed-constexpr"),
            *NinjaFile(ROOT, Path(folder)).stable_abi.split(),
            *(f"-gencode=arch=compute_{number},code=sm_{number}", "-Xptxas=-v", "--keep", f"--keep-dir={folder}"),
            *("-c", ROOT / operator / "cuda.cu", "-o", f"{folder}/kernels.o"),
        ]
        said = subprocess.run(list(map(str, command)), check=True, capture_output=True, text=True).stderr
        code = next(Path(folder).glob("*.ptx")).read_text()
    for mangled, report in _reports(said):
        if "cub" in mangled and "spnas" not in mangled.split("cub")[0]:
            continue
        yield Kernel(
            _readable(mangled),
            _number(r"Used (\d+) registers", report),
            _number(r"(\d+) bytes spill stores", report),
            _number(r"(\d+) bytes smem", report),
            _accesses(code, mangled),
        )


def _reports(said: str) -> Iterator[tuple[str, str]]:
    found = list(_COMPILED.finditer(said))
    for match, following in zip(found, [*found[1:], None], strict=True):
        yield match[1], said[match.end() : following.start() if following else None]


def _number(pattern: str, text: str) -> int:
    found = re.search(pattern, text)
    return int(found[1]) if found else 0


def _accesses(code: str, mangled: str) -> str:
    """Widths of a kernel's accesses to global memory, in bytes, by kind."""
    start = code.index(f".entry {mangled}(")
    body = code[start : code.find("\n}", start)]
    widths: dict[str, set[int]] = {}
    for kind, modifiers, bits in _ACCESS.findall(body):
        words = re.split(r"[.:]+", modifiers)
        if not _ELSEWHERE.intersection(words):
            count = next((int(word[1:]) for word in words if re.fullmatch(r"v\d", word)), 1)
            widths.setdefault("red" if kind == "atom" else kind, set()).add(int(bits) // 8 * count)
    kinds = [kind for kind in ("ld", "st", "red") if kind in widths]
    return ", ".join(f"{kind} {'/'.join(map(str, sorted(widths[kind])))}" for kind in kinds)


def _readable(mangled: str) -> str:
    command = [shutil.which("c++filt") or "c++filt", mangled]
    name = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    name = re.sub(r"\(anonymous namespace\)::|spnas::|^void ", "", name)
    depth = 0
    for position, character in enumerate(name):  # arguments begin at the first parenthesis outside of templates
        depth += {"<": 1, ">": -1}.get(character, 0)
        if character == "(" and not depth:
            return name[:position]
    return name


def main() -> None:
    """Print a table for each architecture."""
    operators = sorted(path.parent.name for path in ROOT.glob("*/cuda.cu"))
    for architecture in sys.argv[1:] or ARCHITECTURES:
        print(f"**sm_{architecture.replace('.', '')}**\n")
        print("| kernel | registers | spilled bytes | shared bytes | bytes of an access |\n|---|---|---|---|---|")
        for operator in operators:
            print("\n".join(map(str, kernels(operator, architecture))), flush=True)
        print()
    print(f"**{sectors.TITLE}**\n")
    print(sectors.run())


if __name__ == "__main__":
    main()
