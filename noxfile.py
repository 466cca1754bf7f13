"""Every chore has one name: ``nox -s demo``, ``tests``, ``lint``, ``types``, ``bench``."""

import shutil
from pathlib import Path

import nox

nox.needs_version = ">=2024.4.15"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.sessions = ["tests", "lint", "types"]
nox.options.reuse_existing_virtualenvs = True

ROOT = Path(__file__).parent
PACKAGES = [f"packages/spnas-{name}" for name in ("core", "detect", "search")]
CODE = ["packages", "tests", "benchmarks", "examples", "noxfile.py"]


def install(session: nox.Session) -> None:
    """Install the pinned environment, then the packages from source, editable.

    Without build isolation: torch would otherwise be downloaded a second time to build what needs none of it.
    """
    session.install("-r", "requirements-dev.txt")
    session.install("--no-build-isolation", "--no-deps", *(part for path in PACKAGES for part in ("-e", path)))


@nox.session
def demo(session: nox.Session) -> None:
    """Search on generated shapes from a conventional ResNet; ``-- --seeds 3`` repeats it, other options pass on."""
    install(session)
    out = Path(session.create_tmp()) / "demo"
    if out.exists() and "--resume" not in session.posargs:
        shutil.rmtree(out)
    session.run("spnas", "run", "serial", "--out", str(out), *session.posargs)


@nox.session
def tests(session: nox.Session) -> None:
    """Run the tests; ``-- --slow`` adds the longer proofs, other options go to pytest."""
    install(session)
    arguments = [argument for argument in session.posargs if argument != "--slow"]
    marker = [] if "--slow" in session.posargs else ["-m", "not slow"]
    session.run("pytest", *marker, *arguments)


@nox.session
def lint(session: nox.Session) -> None:
    """Check style and formatting with ruff."""
    install(session)
    session.run("ruff", "check", *CODE)
    session.run("ruff", "format", "--check", *CODE)


@nox.session
def types(session: nox.Session) -> None:
    """Check types with mypy, strictly."""
    install(session)
    session.run("mypy")


@nox.session
def bench(session: nox.Session) -> None:
    """Run the benchmarks and write their tables to docs/benchmarks.md; ``-- NAME…`` runs only some."""
    install(session)
    session.run("python", "benchmarks/run.py", *session.posargs)
