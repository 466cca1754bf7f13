"""Builds the native libraries through ninja: every operator file once per instruction set, and CUDA where wanted.

Environment:
    SPNAS_KERNELS_CUDA: ``auto`` (default: this machine's GPU, if it has one and a toolkit), ``off``, ``wheel`` (8.0,
        8.6, 8.9, 9.0 and PTX), or a list such as ``8.0;9.0+PTX``.
    SPNAS_KERNELS_BUILD: ``auto`` (default) installs what could be built; ``require`` makes a failing build an error.
    SPNAS_KERNELS_CXXFLAGS, SPNAS_KERNELS_LDFLAGS: added to the compiler's and the linker's flags, for sanitizers say.
    CXX, CUDA_HOME: the compiler and the CUDA toolkit.
"""

import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT))

from native_build import FAILURES, build_libraries, editable_folder  # noqa: E402 (the folder of this file is not on the path of an isolated build)


class NativeBuild(build_ext):
    """Hands all libraries to ninja; setuptools knows where they belong."""

    def build_extensions(self) -> None:
        """Build what this machine can build, and say what it can't."""
        targets = {
            ext.name.rpartition(".")[2]: Path(self.get_ext_fullpath(ext.name)).resolve() for ext in self.extensions
        }
        # An editable install keeps its objects, so that the next one compiles only what has changed.
        folder = ROOT / "build" / editable_folder() if self.inplace or self.editable_mode else Path(self.build_temp)
        build_libraries(ROOT, folder.resolve(), targets)

    def copy_extensions_to_source(self) -> None:
        """Bring the libraries beside the sources, and why others are missing."""
        super().copy_extensions_to_source()
        found, kept = Path(self.build_lib, "spnas_kernels", FAILURES), ROOT / "spnas_kernels" / FAILURES
        kept.unlink(missing_ok=True)
        if found.exists():
            self.copy_file(str(found), str(kept))


setup(
    # Optional: where nothing could be built, there is nothing to copy.
    ext_modules=[Extension(f"spnas_kernels.{name}", [], optional=True) for name in ("_cpu", "_cuda", "_matching")],
    cmdclass={"build_ext": NativeBuild},
)
