"""``spnas predict``: boxes on images."""

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import click

from spnas_core.commands.columns import Column, numbers
from spnas_core.commands.json_text import to_json
from spnas_core.commands.parameters import REFERENCE, WRITTEN, FiniteRange

if TYPE_CHECKING:
    from rich.table import Table

    from spnas_detect.inference.prediction import Predictions


@click.command()
@click.argument("weights", metavar="WEIGHTS|TRAINING|RUN[:ID]", type=REFERENCE)
@click.argument("images", metavar="IMAGE...", nargs=-1, required=True, type=REFERENCE)
@click.option("--out", type=WRITTEN, required=True, help="Folder for pictures and predictions.json.")
@click.option(
    "--score-threshold",
    type=FiniteRange(0, 1),
    default=0.5,
    show_default=True,
    help="Leave out detections that score lower.",
)
@click.option("--batch-size", type=click.IntRange(1), default=8, show_default=True, help="Images at a time.")
@click.option(
    "--max-pixels", type=click.IntRange(1), default=2**28, show_default=True, help="Do not decode larger images."
)
@click.option("--device", default="auto", show_default=True, help="Such as cpu or cuda:1; auto is CUDA where there is.")
@click.option("--json", "as_json", is_flag=True, help="Print what predictions.json holds, and nothing else.")
def predict(
    weights: str,
    images: tuple[str, ...],
    out: Path,
    *,
    score_threshold: float,
    batch_size: int,
    max_pixels: int,
    device: str,
    as_json: bool,
) -> None:
    """Detect objects in each IMAGE and draw them, with their class and score.

    An IMAGE is a file, a folder, or a pattern in quotes. Every image gets a picture of its own name in --out; the boxes
    themselves go to predictions.json, a file of annotations in COCO's format, each with its score, in pixels of the
    image as viewers show it (a rotation noted in EXIF is applied). No image is ever overwritten. One that cannot be
    read is reported, the others are done, and the exit code is 2.

    \b
    Example: spnas predict runs/serial photo.jpg --out found
    Example: spnas predict runs/serial:12 'photos/**/*.jpg' --out found --score-threshold 0.3
    """
    from spnas_core.commands.console import make_console
    from spnas_detect.commands.counting import Counting
    from spnas_detect.inference.prediction import predict as detect

    found = detect(
        weights,
        images,
        out,
        score_threshold=score_threshold,
        device=device,
        batch_size=batch_size,
        max_pixels=max_pixels,
        report=Counting("detecting"),
    )
    if as_json:
        click.echo(to_json(found.as_dict()))
    else:
        console = make_console()
        console.show(_table(found))
        objects = sum(len(image.labels) for image in found.images)
        console.show(f"{objects} objects of score {score_threshold:g} or more in {len(found.images)} images.")
        console.show(f"Their pictures and predictions.json are in {out}.")
    for reason in found.failed.values():
        make_console(stderr=True).show(f"error: {' '.join(reason.split())}")
    if found.failed:
        click.get_current_context().exit(2)


def _table(found: "Predictions") -> "Table":
    """One row per class: how many objects, in how many images."""
    from spnas_core.commands.tables import make_table

    objects: Counter[int] = Counter()
    images: Counter[int] = Counter()
    for image in found.images:
        objects.update(image.labels.tolist())
        images.update(set(image.labels.tolist()))
    table = make_table((Column("class"), *numbers("objects", "images")))
    for label, name in enumerate(found.description.classes, 1):
        table.add_row(name, str(objects[label]), str(images[label]))
    return table
