"""``spnas show``: a network, drawn stage by stage."""

from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.table import Table

from spnas_core.commands.columns import Column, numbers
from spnas_core.commands.console import make_console
from spnas_core.commands.json_text import to_json
from spnas_core.commands.parameters import IMAGE_SIZE, PATH, REFERENCE
from spnas_core.commands.tables import make_table
from spnas_core.commands.wording import amount
from spnas_core.commands.writing import write_result
from spnas_core.cost import backbone_cost, row_costs
from spnas_core.encoding import Architecture, scale
from spnas_core.errors import CodeError, ConfigError
from spnas_core.paths import is_there

if TYPE_CHECKING:
    from spnas_core.backbones import AnyNetwork

BAR_WIDTH = 30


@click.command()
@click.argument("code", metavar="CODE|RUN[:ID]", type=REFERENCE)
@click.option("--image", type=IMAGE_SIZE, default="224x224", show_default=True, help="Input size in pixels.")
@click.option("--scale", "phi", type=float, metavar="PHI", help="Depth by 1.2^PHI, width by 1.1^PHI (EfficientNet).")
@click.option("--svg", type=PATH, help="File to draw the network into, as a figure for a paper.")
@click.option("--json", "as_json", is_flag=True, help="Exact numbers, as JSON.")
def show(code: str, image: tuple[int, int], *, phi: float | None, svg: Path | None, as_json: bool) -> None:
    """Draw the network of an architecture CODE, or of a run's candidate, and count what it costs.

    A network by name, such as timm:hrnet_w18, is counted, and not drawn; 'spnas backbones' has these.

    \b
    Example: spnas show r_111-2111-211111-211 --image 1216x800
    Example: spnas show runs/serial --svg winner.svg
    Example: spnas show b_11-21-21-21 --scale 1 --image 258x258
    """
    architecture = _architecture(code)
    if phi is not None:
        architecture = _scaled(architecture, phi)
    if not isinstance(architecture, Architecture):
        _show_named(architecture, image, is_drawn=svg is not None, as_json=as_json)
        return
    if svg is not None:
        from spnas_core.drawing import draw_network

        write_result(svg, draw_network(architecture, image), "--svg")
    if as_json:
        click.echo(to_json(_counts(architecture, image), indent=2))
        return
    console = make_console()
    for part in stage_drawing(architecture, image):
        console.show(part)


def _scaled(network: "AnyNetwork", phi: float) -> Architecture:
    """Scale a code; a network by name has sizes of its own."""
    if not isinstance(network, Architecture):
        raise ConfigError(f"{network} is no code, and only these are scaled: leave out --scale")
    return scale(network, phi)


def _show_named(network: "AnyNetwork", image: tuple[int, int], *, is_drawn: bool, as_json: bool) -> None:
    """Count a network that is no code."""
    from spnas_search.cli.backbones import list_networks

    if is_drawn:
        raise ConfigError(f"{network} is no code, and only these are drawn: leave out --svg")
    list_networks([str(network)], image, as_json=as_json)


def _architecture(reference: str) -> "AnyNetwork":
    """Read a code, or find the candidate that is meant; nothing that knows runs is imported for a code."""
    if not is_there(reference):
        with suppress(CodeError):
            return Architecture.parse(reference)
    from spnas_core.backbones import read_reference
    from spnas_core.tasks import resolve_candidate

    candidate = resolve_candidate(reference)
    return read_reference(reference if candidate is None else candidate.architecture)


def _counts(architecture: Architecture, image: tuple[int, int]) -> dict[str, Any]:
    """Return everything that is counted, to the unit."""
    cost = backbone_cost(architecture, *image)
    return {
        "architecture": str(architecture),
        "image": list(image),
        "blocks": len(architecture.digits),
        **cost.as_dict(),
        "stages": [asdict(stage) for stage in cost.stages],
        "with_a_row_more": [row.as_dict() for row in row_costs(architecture, *image)],
    }


def stage_drawing(architecture: Architecture, image: tuple[int, int]) -> tuple[Table, str]:
    """Return the table of stages, the last column being what one more row would cost, and the line of totals."""
    cost = backbone_cost(architecture, *image)
    shown = (
        *numbers("size", "channels", "mult-adds", "params"),
        Column("share of multiply-adds"),
        *numbers("a row more"),
    )
    table = make_table(
        (Column("stage"), Column("blocks"), *shown),
        title=f"{architecture} at {image[0]}x{image[1]}",
        framed=False,
        turns=True,
    )
    drawings = [architecture.stem, *map(_blocks, architecture.stages)]
    more = ["", *(f"+{amount(one.multiply_adds - cost.multiply_adds)}" for one in row_costs(architecture, *image))]
    for stage, drawing, row in zip(cost.stages, drawings, more, strict=True):
        share = stage.multiply_adds / cost.multiply_adds
        table.add_row(
            stage.name,
            drawing,
            f"{stage.width}x{stage.height}",
            str(stage.channels),
            amount(stage.multiply_adds),
            amount(stage.parameters),
            f"{'█' * round(share * BAR_WIDTH)} {share:.0%}",
            row,
        )
        for number in range(1, stage.rows + 1):
            table.add_row("", f"{drawing} row {number}")
    rows = f", {_rows(architecture)}" if architecture.rows else ""
    total = (
        f"{len(architecture.digits)} blocks (■ doubles the channels){rows}, {amount(cost.parameters)} parameters, "
        f"{amount(cost.multiply_adds)} multiply-adds, {amount(cost.activation_bytes)}B of activations"
    )
    return table, total


def _blocks(stage: str) -> str:
    return "".join("□" if digit == "1" else "■" for digit in stage)


def _rows(architecture: Architecture) -> str:
    count = sum(architecture.rows)
    weights = "the main path's weights" if architecture.shares_rows else "weights of their own"
    return f"{count} row{'s' if count > 1 else ''} with {weights}"
