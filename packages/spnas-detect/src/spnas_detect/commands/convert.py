"""``spnas data convert``: write a data set in another layout."""

from pathlib import Path

import click

from spnas_core.commands.json_text import to_json
from spnas_core.commands.parameters import PATH
from spnas_detect.commands.options import read_options


@click.command()
@click.argument("spec")
@click.argument("folder", metavar="DIR", type=PATH)
@click.option("--to", "kind", type=click.Choice(["coco", "yolo"]), required=True, help="Layout to write.")
@click.option("--data-seed", type=click.IntRange(0), default=0, show_default=True, help="Of carved splits.")
@click.option("--data-option", "options", metavar="KEY=VALUE", multiple=True, help="Option of the kind of data.")
@click.option(
    "--copy/--link", "copies", default=True, show_default=True, help="Copy image files, or make hard links to them."
)
@click.option("--json", "as_json", is_flag=True, help="Print what was written as JSON, and nothing else.")
def convert(
    spec: str, folder: Path, *, kind: str, data_seed: int, options: tuple[str, ...], copies: bool, as_json: bool
) -> None:
    """Write the data set SPEC into the new folder DIR, as a training reads it.

    Boxes are written as they are after all repairs, in the three splits that a training would use, carved ones
    included. Images without a file of their own are written as PNG. What the layout does not hold, such as ignored
    boxes, is counted. DIR is complete or absent.

    \b
    Example: spnas data convert voc:VOCdevkit birds --to coco
    Example: spnas data convert folder:export birds --to yolo --link
    """
    from spnas_core.commands.console import make_console
    from spnas_detect.commands.counting import Counting
    from spnas_detect.data.conversion import LAYOUTS, convert
    from spnas_detect.opening import read_known

    extra = read_options(options)
    data = read_known(spec, data_seed, extra)
    done = convert(data, LAYOUTS[kind], folder, links=not copies, report=Counting("writing"))
    notes, spec = (*data.remarks, *done.notes), f"{kind}:{done.folder}"
    if as_json:
        click.echo(to_json({"spec": spec, "images": done.images, "boxes": done.boxes, "notes": notes}))
        return
    console = make_console()
    for note in notes:
        console.show(f"data: {note}")
    counts = ", ".join(f"{split} {done.images[split]} images with {done.boxes[split]} boxes" for split in done.images)
    console.show(f"{done.folder}: {counts}. Read it as {spec}")
