"""Kinds of command-line values."""

import math
import os
import re
from pathlib import Path
from typing import Any

import click

from spnas_core.errors import ConfigError
from spnas_core.paths import is_utf8


class ImageSize(click.ParamType[tuple[int, int]]):
    """``WIDTHxHEIGHT`` in pixels."""

    name = "WxH"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        """Read the size."""
        if isinstance(value, tuple):
            return value
        match = re.fullmatch(r"([1-9]\d{0,8})[x×]([1-9]\d{0,8})", str(value))
        if match is None:
            self.fail(f"{value!r} is no image size: write WIDTHxHEIGHT in pixels, for example 1216x800", param, ctx)
        return int(match[1]), int(match[2])


IMAGE_SIZE = ImageSize()


class FiniteRange(click.FloatRange):
    """A number between two bounds; what is no number (``nan``) is in no range."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Read the number."""
        found = float(super().convert(value, param, ctx))
        if not math.isfinite(found):
            self.fail(f"{value!r} is no finite number", param, ctx)
        return found


NOTHING = "an empty text names nothing: name a file or a folder (was a variable of the shell not set?)"


class GivenPath(click.Path):
    """A file or folder; an empty text, which would stand for the current folder, is none."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Read the path."""
        if not os.fspath(value):
            self.fail(NOTHING, param, ctx)
        return super().convert(value, param, ctx)


class WrittenPath(GivenPath):
    """A file or folder that is written, and named in what is written there: by a name that UTF-8 can hold."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Read the path."""
        if not is_utf8(os.fsdecode(value)):
            self.fail(f"{value!r} is no name that UTF-8 can hold: choose another", param, ctx)
        return super().convert(value, param, ctx)


PATH = GivenPath()
WRITTEN = WrittenPath()


class Reference(click.ParamType[str]):
    """What names a run, a candidate, a code or a file, as text that is not empty."""

    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Read the text."""
        if not str(value):
            self.fail(NOTHING, param, ctx)
        return str(value)


REFERENCE = Reference()


class CacheFolder(click.ParamType[Path]):
    """A folder for what several runs need and none should compute twice; ``~`` is the home folder."""

    name = "DIR"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """Make the path absolute.

        Raises:
            ConfigError: it is a file.
        """
        if not os.fspath(value):
            self.fail(NOTHING, param, ctx)
        folder = Path(os.path.expanduser(value)).absolute()  # noqa: PTH111 - Path's raises where there is no such user
        if folder.exists() and not folder.is_dir():
            raise ConfigError(f"--cache (or SPNAS_CACHE) is {folder}, which is a file: name a folder, or leave it out")
        return folder


cache_option = click.option(
    "--cache",
    type=CacheFolder(),
    envvar="SPNAS_CACHE",
    show_envvar=True,
    help="Folder of cached data that several runs share.  [default: cache in --out]",
)
"""Of every command that caches data."""
