"""What is installed and has a say in a score: versions of distributions, and digests of their code."""

import hashlib
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from spnas_core import installed
from spnas_core.plugins import plugin_manager

DISTRIBUTIONS = ("numpy", "spnas-core", "spnas-detect", "spnas-kernels", "spnas-search", "torch", "torchvision")
"""Distributions whose code decides a score, or by whose chance children are drawn; those of plugins come on top."""

PACKAGES = ("spnas_core", "spnas_detect", "spnas_kernels", "spnas_search")
PATTERNS = ("*.py", "*.so")


def installed_versions() -> dict[str, str]:
    """Return the versions of everything installed that decides a score."""
    return installed.versions_of(DISTRIBUTIONS)


def other_versions(before: Mapping[str, str], now: Mapping[str, str]) -> Iterator[tuple[str, str | None, str | None]]:
    """Yield packages whose versions differ, with both, but for what was not noted yet when something began."""
    return installed.other_versions(before, now, DISTRIBUTIONS)


def installed_code() -> dict[str, str]:
    """Return a digest of the Python files and native libraries of our packages and of every plugin's.

    Versions do not tell code apart that somebody is changing; this does, wherever it lies. A process reads each once.
    """
    plugins = {str(getattr(plugin, "__name__", "")).partition(".")[0] for plugin in plugin_manager().get_plugins()}
    return {package: found for package in sorted({*PACKAGES, *plugins} - {""}) if (found := _digest_once(package))}


@cache
def _digest_once(package: str) -> str:
    return code_digest(package)


def code_digest(package: str) -> str:
    """Return the digest of a package's or a module's files; empty where there is none of that name."""
    digest, count = hashlib.blake2b(digest_size=16), 0
    for name, file in sorted(_files(package)):
        count += 1
        digest.update(name.encode() + b"\0" + hashlib.blake2b(file.read_bytes()).digest())
    return digest.hexdigest() if count else ""


def _files(package: str) -> Iterator[tuple[str, Path]]:
    try:
        spec = find_spec(package)
    except (ImportError, ValueError):  # a plugin that was registered by hand
        return
    if spec is None:
        return
    for place in map(Path, spec.submodule_search_locations or ()):
        for pattern in PATTERNS:
            yield from ((file.relative_to(place).as_posix(), file) for file in place.rglob(pattern) if file.is_file())
    if spec.submodule_search_locations is None and spec.origin is not None and Path(spec.origin).is_file():
        yield Path(spec.origin).name, Path(spec.origin)
