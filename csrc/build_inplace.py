"""Builds the native libraries beside the Python sources, incrementally: for work on the kernels.

python csrc/build_inplace.py
"""

from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

from native_build import build_libraries

if __name__ == "__main__":
    root = Path(__file__).resolve().parent
    names = ("_cpu", "_cuda", "_matching")
    targets = {name: root / "spnas_kernels" / f"{name}{EXTENSION_SUFFIXES[0]}" for name in names}
    build_libraries(root, root / "build" / "inplace", targets)
