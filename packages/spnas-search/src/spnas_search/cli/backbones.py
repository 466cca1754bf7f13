"""``spnas backbones``: the networks that have names."""

import fnmatch
from collections.abc import Iterator
from typing import Any

import click

from spnas_core.commands.columns import Column, numbers
from spnas_core.commands.console import make_console, write_lines
from spnas_core.commands.json_text import to_json
from spnas_core.commands.parameters import IMAGE_SIZE
from spnas_core.commands.tables import make_table
from spnas_core.commands.wording import amount
from spnas_core.errors import ConfigError, SpnasError
from spnas_core.plugins import plugin_origins, registry

COUNTED = 40
"""As many networks are built and counted; of more the names alone are listed."""


@click.command()
@click.argument("pattern", required=False)
@click.option("--image", type=IMAGE_SIZE, default="224x224", show_default=True, help="Input size in pixels.")
@click.option("--json", "as_json", is_flag=True, help="Exact numbers, one JSON object per network.")
def backbones(pattern: str | None, image: tuple[int, int], *, as_json: bool) -> None:
    """List backbones by name, which stand wherever a code does that is not rewritten, with what they cost.

    A PATTERN has * and ? for any characters; without one the sources are listed, and how many networks each has.
    Networks are counted as detectors read them: without their classifiers.

    \b
    Example: spnas backbones
    Example: spnas backbones 'timm:hrnet*'
    Example: spnas backbones torchvision:resnet50 --image 1216x800
    """
    if pattern is None:
        _list_sources(as_json=as_json)
        return
    list_networks(_matching(pattern), image, as_json=as_json)


def list_networks(names: list[str], image: tuple[int, int], *, as_json: bool) -> None:
    """Write what networks cost, or the names alone of more than ``COUNTED``."""
    if as_json:
        write_lines(to_json(row) for row in _rows(names, image))
    elif len(names) > COUNTED:
        write_lines(names)
        more = f"{len(names)} networks; of {COUNTED} or fewer the cost is counted, too: say more of them"
        make_console(stderr=True).show(more)
    else:
        _show(names, image)


def _list_sources(*, as_json: bool) -> None:
    found, origins = registry("backbones"), plugin_origins()
    rows = []
    for name, source in found.items.items():
        hint = source.missing()
        count = None if hint else len(source.names())
        rows.append((name, source.summary, count, hint, origins[found.plugins[name]]))
    if as_json:
        keys = ("source", "summary", "networks", "missing", "distribution")
        write_lines(to_json(dict(zip(keys, row, strict=True))) for row in rows)
        return
    table = make_table(
        (Column("source"), Column("what it has"), *numbers("networks"), Column("distribution")), turns=True
    )
    for name, summary, count, hint, distribution in rows:
        table.add_row(
            name, f"{summary}; {hint}" if hint else summary, "–" if count is None else str(count), distribution
        )
    make_console().show(table)


def _matching(pattern: str) -> list[str]:
    """Return the names that fit.

    Raises:
        ConfigError: none does.
    """
    known = [
        f"{source}:{name}"
        for source, provider in registry("backbones").items.items()
        if provider.missing() is None
        for name in provider.names()
    ]
    found = [name for name in known if fnmatch.fnmatchcase(name, pattern if ":" in pattern else f"*:{pattern}")]
    if not found:
        raise ConfigError(f"no backbone has a name like {pattern!r}: 'spnas backbones' lists where they come from")
    return found


def _rows(names: list[str], image: tuple[int, int]) -> Iterator[dict[str, Any]]:
    from spnas_core.backbones import read_network
    from spnas_core.cost import backbone_cost

    for name in names:
        try:
            network = read_network(name)
            cost = backbone_cost(network, *image)
            info = network.feature_info  # type: ignore[union-attr]
        except SpnasError as error:
            yield {"backbone": name, "image": list(image), "error": str(error)}
            continue
        levels = {stage.name: {"channels": stage.channels, "reduction": stage.reduction} for stage in info.stages}
        yield {"backbone": name, "image": list(image), **cost.as_dict(), "levels": levels}


def _show(names: list[str], image: tuple[int, int]) -> None:
    title = f"backbones at {image[0]}x{image[1]}, without classifier"
    columns = (Column("backbone"), *numbers("params", "mult-adds", "activations"), Column("channels at /4 /8 /16 …"))
    table = make_table(columns, title=title, turns=True)
    for row in _rows(names, image):
        if "error" in row:
            table.add_row(row["backbone"], "", "", "", row["error"])
            continue
        counts = (amount(row["parameters"]), amount(row["multiply_adds"]), f"{amount(row['activation_bytes'])}B")
        channels = " ".join(str(level["channels"]) for level in row["levels"].values())
        table.add_row(row["backbone"], *counts, channels)
    make_console().show(table)
