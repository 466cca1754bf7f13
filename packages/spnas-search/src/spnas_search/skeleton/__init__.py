"""The skeleton of a plugin: a package with one strategy, which is installed, tested and then changed."""

import re
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from string import Template

from spnas_core.errors import ConfigError
from spnas_core.plugins import plugin_origins, registry
from spnas_search.installed import DISTRIBUTIONS

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_FILES = {
    "README.md": "readme.txt",
    "pyproject.toml": "project.txt",
    "src/$package/__init__.py": "strategy.txt",
    "src/$package/py.typed": None,
    "tests/test_$module.py": "tests.txt",
}
"""Where each file of the plugin goes, and which file of this package it is made from; None for an empty one."""


def write_plugin(name: str, folder: Path) -> Iterator[Path]:
    """Write a plugin whose strategy mutates the best candidate, for its author to change.

    Args:
        name: of strategy and entry point.
        folder: of the plugin; it must be new or empty.

    Yields:
        The files, as they are written.

    Raises:
        ConfigError: the name is no name of a package or is taken, or the folder holds something.
    """
    if not _NAME.fullmatch(name):
        raise ConfigError(f"a plugin cannot be called {name!r}: take small letters and digits, in words joined by -")
    for taken, what in ((registry("strategies").plugins, "strategy"), (plugin_origins(), "plugin")):
        if name in taken:
            raise ConfigError(f"there is a {what} called {name!r} already: choose another name")
    module = name.replace("-", "_")
    if f"spnas-{name}" in DISTRIBUTIONS:
        raise ConfigError(f"there is a package called spnas-{name} already: choose another name")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"{folder} is not empty: name a new folder by --out; what it holds is left alone")
    words = {
        "name": name,
        "module": module,
        "package": f"spnas_{module}",
        "distribution": f"spnas-{name}",
        "kind": "".join(part.capitalize() for part in name.split("-")),
    }
    for place, source in _FILES.items():
        file = folder / Template(place).substitute(words)
        file.parent.mkdir(parents=True, exist_ok=True)
        text = "" if source is None else files(__name__).joinpath(source).read_text(encoding="utf-8")
        file.write_text(Template(text).substitute(words), encoding="utf-8")
        yield file
