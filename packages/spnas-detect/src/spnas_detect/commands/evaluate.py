"""``spnas evaluate``: scores on a split, class by class, and where the detector fails."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from spnas_core.commands.columns import Column, numbers
from spnas_core.commands.json_text import to_json
from spnas_core.commands.log_json import JsonLog, log_json_option
from spnas_core.commands.parameters import PATH, REFERENCE, WRITTEN, FiniteRange
from spnas_core.commands.wording import number
from spnas_core.errors import EvaluationError, SpnasError
from spnas_detect.commands.options import read_options

if TYPE_CHECKING:
    from rich.table import Table

    from spnas_detect.inference.confusion import Confusion
    from spnas_detect.inference.report import EvaluationReport

_FEW_CLASSES = 8
"""Up to which the confusion matrix is printed."""


@click.command()
@click.argument("weights", metavar="WEIGHTS|TRAINING|RUN[:ID]", type=REFERENCE)
@click.option(
    "--data",
    metavar="SPEC",
    help="Data set: shapes, voc:PATH, coco:PATH, yolo:PATH, ecp:PATH, folder:PATH, or of a plugin's kind.  [default: "
    "the training's]",
)
@click.option("--split", default="test", show_default=True, help="train, validation or test, or all for every image.")
@click.option(
    "--metrics", metavar="NAME,...", help="Registered metrics, such as coco,voc.  [default: the training's, or coco]"
)
@click.option("--data-seed", type=click.IntRange(0), help="Of carved splits.  [default: the training's, or 0]")
@click.option(
    "--data-option", "options", metavar="KEY=VALUE", multiple=True, help="Option of the kind of data; may be repeated."
)
@click.option("--out", type=WRITTEN, help="Folder for evaluation.json and pictures of the worst images.")
@click.option(
    "--curves",
    type=PATH,
    help="Folder for precision against recall and the confusion matrix, as PNG and CSV.",
)
@click.option(
    "--detections", type=WRITTEN, help="File for all detections as COCO's results, which pycocotools' loadRes reads."
)
@click.option("--worst", type=click.IntRange(0), default=8, show_default=True, help="Worst images to list and draw.")
@click.option(
    "--score-threshold",
    type=FiniteRange(0, 1),
    default=0.5,
    show_default=True,
    help="Least score of found and false detections; metrics see all.",
)
@click.option("--batch-size", type=click.IntRange(1), default=8, show_default=True, help="Images at a time.")
@click.option("--device", default="auto", show_default=True, help="Such as cpu or cuda:1; auto is CUDA where there is.")
@click.option("--devices", type=click.IntRange(1), default=1, show_default=True, help="Processes, one per GPU.")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON, and nothing else.")
@log_json_option
def evaluate(
    weights: str,
    data: str | None,
    split: str,
    metrics: str | None,
    data_seed: int | None,
    options: tuple[str, ...],
    out: Path | None,
    curves: Path | None,
    *,
    detections: Path | None,
    worst: int,
    score_threshold: float,
    batch_size: int,
    device: str,
    devices: int,
    as_json: bool,
    log_json: JsonLog | None,
) -> None:
    """Score a detector on a split of a data set.

    Prints the metrics, a row per class, and the worst images; with --out these are drawn, ground truth beside
    predictions. Weights are a file, the folder of a training, or a run's candidate; they know their data. Classes of
    other data are the detector's where their names are, in whatever order: one that the data lacks has no score, and
    boxes of one that the detector does not know are refused. A warning counts images that it was trained on.

    \b
    Example: spnas evaluate trainings/voc
    Example: spnas evaluate runs/serial
    Example: spnas evaluate mine.safetensors --data voc:VOCdevkit/VOC2007 --metrics coco,voc --out failures
    """
    from spnas_core.commands.console import make_console
    from spnas_detect.commands.counting import Counting
    from spnas_detect.inference.evaluation import evaluate as score

    try:
        report = score(
            weights,
            data,
            split=split,
            metrics=None if metrics is None else [name.strip() for name in metrics.split(",") if name.strip()],
            data_seed=data_seed,
            data_options=read_options(options) if options else None,
            out=out,
            curves=curves,
            detections=detections,
            worst=worst,
            score_threshold=score_threshold,
            device=device,
            batch_size=batch_size,
            devices=devices,
            report=Counting("detecting", log_json),
        )
    except EvaluationError as error:  # one of several processes has died
        raise SpnasError(str(error)) from error
    if log_json is not None:
        log_json.event("evaluated", **report.as_dict())
    if as_json:
        click.echo(to_json(report.as_dict()))
        return
    console = make_console(stderr=log_json is not None and log_json.is_standard_output)
    for note in report.notes:
        console.show(f"data: {note}")
    for warning in report.warnings:
        console.show(f"warning: {warning}")
    console.show(
        f"{report.description.detector.detector} on {report.description.architecture}, {report.scored} of {report.data}"
    )
    for table in _tables(report):
        console.show(table)
    console.show(f"Found and false are counted at IoU 0.5 among detections of score {score_threshold:g} or more.")
    if out is not None:
        console.show(f"evaluation.json and {len(report.worst)} pictures are in {out}.")
    if curves is not None:
        console.show(f"precision-recall and confusion, each as .png and .csv, are in {curves}.")
    for file, what in zip(report.detections, ("All detections", "The images and classes of their ids"), strict=False):
        console.show(f"{what} are in {file}.")


def _tables(report: "EvaluationReport") -> Iterator["Table"]:
    """Yield the main numbers, the classes, and the worst images if there are such."""
    from spnas_core.commands.tables import make_table
    from spnas_detect.commands.scores import ALL

    main = make_table((Column(""), *numbers(*report.main)), turns=True)
    main.add_row(ALL, *(number(report.metrics.get(name)) for name in report.main))
    yield main
    per_class = [name for name in report.main if any(name in result.scores for result in report.classes)]
    classes = make_table((Column("class"), *numbers("images", "boxes", "found", "false", *per_class)))
    for result in report.classes:
        counts = result.images, result.boxes, result.found, result.false
        classes.add_row(result.name, *map(str, counts), *(number(result.scores.get(name)) for name in per_class))
    yield classes
    if report.worst:
        worst = make_table((Column("worst images (lowest F1)"), *numbers("boxes", "found", "false", "F1")))
        for image in report.worst:
            worst.add_row(image.name, str(image.boxes), str(image.found), str(image.false), f"{image.f1:.2f}")
        yield worst
    if report.confusion is not None:
        yield from _confusion_table(report.confusion)


def _confusion_table(found: "Confusion") -> Iterator["Table"]:
    """Yield the whole matrix of few classes, and the most frequent mistakes of many where there are any."""
    from spnas_core.commands.tables import make_table
    from spnas_detect.inference.confusion import BACKGROUND, MISSED

    if len(found.classes) > _FEW_CLASSES:
        table = make_table((Column("annotated"), Column("detected as"), *numbers("count")), title="Taken for another")
        for name, other, count in found.mistakes(_FEW_CLASSES):
            table.add_row(name, other, str(count))
        if table.row_count:
            yield table
        return
    table = make_table((Column("annotated"), *numbers(*found.classes, MISSED)), title="Detected as")
    for name, row in zip((*found.classes, BACKGROUND), found.counts.tolist(), strict=True):
        table.add_row(name, *map(str, row))
    yield table
