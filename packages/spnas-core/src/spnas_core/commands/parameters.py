"""Kinds of command-line values."""

import os
import re
from pathlib import Path
from typing import Any

import click

from spnas_core.errors import ConfigError


class ImageSize(click.ParamType[tuple[int, int]]):
    """``WIDTHxHEIGHT`` in pixels."""

    name = "WxH"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        """Read the size."""
        if isinstance(value, tuple):
            return value
        match = re.fullmatch(r"([1-9]\d*)[x×]([1-9]\d*)", str(value))
        if match is None:
            self.fail(f"{value!r} is no image size: write WIDTHxHEIGHT in pixels, for example 1216x800", param, ctx)
        return int(match[1]), int(match[2])


IMAGE_SIZE = ImageSize()


class CacheFolder(click.ParamType[Path]):
    """A folder for what several runs need and none should compute twice; ``~`` is the home folder."""

    name = "DIR"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """Make the path absolute.

        Raises:
            ConfigError: it is a file.
        """
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
