"""``spnas data``: look at data sets."""

import json
from typing import Any

import click

from spnas_core.commands.parameters import IMAGE_SIZE
from spnas_core.errors import DataError
from spnas_detect.commands.options import read_options


@click.group(name="data")
def data_group() -> None:
    """Look at data sets."""


@data_group.command()
@click.argument("spec")
@click.option("--data-seed", type=click.IntRange(0), default=0, show_default=True, help="Of carved splits.")
@click.option("--data-option", "options", metavar="KEY=VALUE", multiple=True, help="Option of the kind of data.")
@click.option(
    "--image-size",
    type=IMAGE_SIZE,
    help="Canvas that anchors are suggested for, in pixels.  [default: the median image's size]",
)
@click.option("--no-decode", is_flag=True, help="Do not open image files.")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON, and nothing else.")
def check(
    spec: str,
    *,
    data_seed: int,
    options: tuple[str, ...],
    image_size: tuple[int, int] | None,
    no_decode: bool,
    as_json: bool,
) -> None:
    """Say what the data set SPEC holds, what is wrong with it, and which settings suit it.

    Exit code 1 where it cannot be used.

    \b
    Example: spnas data check voc:VOCdevkit/VOC2007
    """
    from spnas_core.plugins import registry
    from spnas_detect.data import open_data
    from spnas_detect.data.survey import faults, statistics, suggest
    from spnas_detect.detectors.settings import DetectorSettings

    extra = read_options(options)
    try:
        data = open_data(spec, seed=data_seed, readers=registry("datasets").items, **extra)
    except DataError as error:
        if as_json:
            click.echo(json.dumps({"spec": spec, "usable": False, "error": str(error)}, ensure_ascii=False))
        click.echo(f"error: {error}", err=True)
        click.get_current_context().exit(1)
    settings = DetectorSettings()
    found = [fault for records in data.splits.values() for fault in faults(records, decode=not no_decode)]
    found += [{"kind": "box without area", "image": name, "text": "left out"} for name in data.dropped]
    usable = all(fault["kind"] != "unreadable image" for fault in found)
    report = {
        "spec": spec,
        "usable": usable,
        "notes": list(data.notes),
        "splits": {split: statistics(records, data.classes) for split, records in data.splits.items()},
        "faults": found,
        "suggestions": suggest(data.splits["train"], settings.anchor_scales, settings.aspect_ratios, image_size),
    }
    if as_json:
        click.echo(json.dumps(report, ensure_ascii=False, allow_nan=False))
    else:
        _show(report)
    if not usable:
        click.get_current_context().exit(1)


def _show(report: dict[str, Any]) -> None:
    from rich.table import Table
    from rich.text import Text

    from spnas_core.commands.console import make_console

    console = make_console()
    for note in report["notes"]:
        click.echo(f"data: {note}")
    for split, counts in report["splits"].items():
        click.echo(
            f"{split}: {counts['images']} images ({counts['without_boxes']} without boxes), {counts['boxes']} boxes, "
            f"{counts['ignored']} ignored; {counts['small']} small, {counts['medium']} medium, {counts['large']} large"
        )
        table = Table("class", header_style="bold")
        for name in ("boxes", "share", "images"):
            table.add_column(name, justify="right")
        for name, row in counts["classes"].items():
            table.add_row(Text(name), str(row["boxes"]), f"{row['share']:.1%}", str(row["images"]))
        console.print(table)
        table = Table("pixels", "least", "10 %", "median", "90 %", "greatest", header_style="bold")
        for key in ("side", "aspect_ratio", "image_width", "image_height"):
            table.add_row(key.replace("_", " "), *(f"{value:.4g}" for value in counts[key]))
        console.print(table)
    for fault in report["faults"]:
        click.echo(f"{fault['kind']}: {fault['image']}: {fault['text']}")
    click.echo(f"Faults: {len(report['faults'])}.")
    advice = report["suggestions"]
    if advice is not None:
        canvas = "x".join(map(str, advice["image_size"]))
        click.echo(
            f"On a canvas of {canvas}, nine of ten boxes have sides of {advice['least_side']:.0f} pixels or more "
            f"(square root of the area); from a shorter side of {advice['least_shorter_side']} on they have 8."
        )
        click.echo(f"Anchors on a canvas of {canvas}, by the boxes that one of them fits:")
        for key in ("default", "suggested"):
            fit = advice[key]
            click.echo(
                f"  {key}: anchor_scales {fit['anchor_scales']}, aspect_ratios {fit['aspect_ratios']} "
                f"({fit['per_position']} at a position): IoU 0.5 with {fit['iou50']:.1%}, 0.7 with {fit['iou70']:.1%}"
            )
