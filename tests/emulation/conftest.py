"""What compiles emulated kernels."""

import fcntl
import importlib.util
import os
import sys
from pathlib import Path

import pytest

CSRC = Path(__file__).resolve().parents[2] / "csrc"


@pytest.fixture(scope="session")
def build():
    """The module csrc/emulation/build.py."""
    spec = importlib.util.spec_from_file_location("emulation_build", CSRC / "emulation" / "build.py")
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def once(path, make):
    """Make a file that no other process of tests makes at the same time or has made, and return its path."""
    with path.with_name(f"{path.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            make()
    return path


@pytest.fixture(scope="session")
def folder(tmp_path_factory, build):
    """Where all processes of tests compile to, with the emulated device in it."""
    base = tmp_path_factory.getbasetemp()
    shared = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "emulation"
    shared.mkdir(exist_ok=True)
    for objects, finds_races in (("device", False), ("device_for_races", True)):
        made = shared / objects
        once(
            made,
            lambda finds_races=finds_races, made=made: (build.machine(shared, finds_races=finds_races), made.touch()),
        )
    return shared


@pytest.fixture(scope="session")
def libraries(build, folder):
    """Libraries of operators as they are, built when asked for."""

    def library(operator, *, finds_races=False):
        place = folder / f"{operator}{'_races' if finds_races else ''}"
        place.mkdir(exist_ok=True)
        return once(place / f"{operator}.so", lambda: build.build(operator, place, finds_races=finds_races))

    return library


@pytest.fixture(scope="session", params=["own-switch", "ucontext"])
def checks(request, build, folder):
    """The program of small kernels, with both ways to go from one thread to another."""
    program = folder / f"machine_checks_{request.param}"

    def make():
        objects = build.machine(folder)
        if request.param == "ucontext":
            objects[1] = folder / "fiber_ucontext.o"
            source = build.ROOT / "emulation" / "fiber.cpp"
            build.compile_to(objects[1], *build.SANITIZED, "-c", "-DSPNAS_UCONTEXT", source)
        kernels = folder / f"machine_checks_{request.param}.o"
        build.compile_to(kernels, *build.SANITIZED, "-c", Path(__file__).with_name("machine_checks.cpp"))
        build.move_shared_memory(kernels)
        build.compile_to(program, *build.SANITIZED, kernels, *objects)

    return once(program, make)
