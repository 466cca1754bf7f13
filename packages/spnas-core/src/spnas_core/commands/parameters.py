"""Kinds of command-line values."""

import re
from typing import Any

import click


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
