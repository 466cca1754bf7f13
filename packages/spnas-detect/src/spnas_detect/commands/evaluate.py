"""``spnas evaluate``: scores on a split, class by class, and where the detector fails."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from spnas_detect.commands.options import read_options

if TYPE_CHECKING:
    from rich.table import Table

    from spnas_detect.inference.report import EvaluationReport


@click.command()
@click.argument("weights", metavar="WEIGHTS|RUN[:ID]")
@click.option("--data", metavar="SPEC", help="Data set: shapes, voc:PATH or coco:PATH.  [default: the run's]")
@click.option("--split", default="test", show_default=True, help="train, validation or test.")
@click.option(
    "--metrics", metavar="NAME,...", help="Registered metrics, such as coco,voc.  [default: the run's, or coco]"
)
@click.option(
    "--data-seed", type=click.IntRange(0), help="Of carved splits, as in training.  [default: the run's, or 0]"
)
@click.option(
    "--data-option", "options", metavar="KEY=VALUE", multiple=True, help="Option of the kind of data; may be repeated."
)
@click.option(
    "--out", type=click.Path(path_type=Path), help="Folder for evaluation.json and pictures of the worst images."
)
@click.option("--worst", type=click.IntRange(0), default=8, show_default=True, help="Worst images to list and draw.")
@click.option(
    "--score-threshold",
    type=click.FloatRange(0, 1),
    default=0.5,
    show_default=True,
    help="Least score of found and false detections; metrics see all.",
)
@click.option("--batch-size", type=click.IntRange(1), default=8, show_default=True, help="Images at a time.")
@click.option("--device", default="auto", show_default=True, help="Such as cpu or cuda:1; auto is CUDA where there is.")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON, and nothing else.")
def evaluate(
    weights: str,
    data: str | None,
    split: str,
    metrics: str | None,
    data_seed: int | None,
    options: tuple[str, ...],
    out: Path | None,
    *,
    worst: int,
    score_threshold: float,
    batch_size: int,
    device: str,
    as_json: bool,
) -> None:
    """Score a detector on a split of a data set.

    Prints the metrics, a row per class, and the worst images; with --out these are drawn, ground truth beside
    predictions. The data must have the classes that the detector was trained on, in the same order.

    \b
    Example: spnas evaluate runs/serial
    Example: spnas evaluate mine.safetensors --data voc:VOCdevkit/VOC2007 --metrics coco,voc --out failures
    """
    from spnas_detect.commands.console import Counting, make_console
    from spnas_detect.inference.evaluation import evaluate as score

    report = score(
        weights,
        data,
        split=split,
        metrics=None if metrics is None else [name.strip() for name in metrics.split(",") if name.strip()],
        data_seed=data_seed,
        data_options=read_options(options) if options else None,
        out=out,
        worst=worst,
        score_threshold=score_threshold,
        device=device,
        batch_size=batch_size,
        report=Counting("detecting"),
    )
    if as_json:
        click.echo(json.dumps(report.as_dict(), ensure_ascii=False, allow_nan=False))
        return
    console = make_console()
    for note in report.notes:
        click.echo(f"data: {note}")
    click.echo(
        f"{report.description.detector.detector} on {report.description.architecture}, "
        f"{report.images} images of the {report.split} split of {report.data}"
    )
    for table in _tables(report):
        console.print(table)
    click.echo(f"Found and false are counted at IoU 0.5 among detections of score {score_threshold:g} or more.")
    if out is not None:
        click.echo(f"evaluation.json and {len(report.worst)} pictures are in {out}.")


def _tables(report: "EvaluationReport") -> Iterator["Table"]:
    """Yield the main numbers, the classes, and the worst images if there are such."""
    from rich.table import Table
    from rich.text import Text

    main = Table(header_style="bold")
    for name in report.main:
        main.add_column(Text(name), justify="right")
    main.add_row(*(_number(report.metrics.get(name, math.nan)) for name in report.main))
    yield main
    classes = Table(header_style="bold")
    classes.add_column("class")
    per_class = [name for name in report.main if any(name in result.scores for result in report.classes)]
    for name in ("images", "boxes", "found", "false", *per_class):
        classes.add_column(Text(name), justify="right")
    for result in report.classes:
        counts = result.images, result.boxes, result.found, result.false
        scores = (_number(result.scores.get(name, math.nan)) for name in per_class)
        classes.add_row(Text(result.name), *map(str, counts), *scores)
    yield classes
    if report.worst:
        worst = Table(header_style="bold")
        worst.add_column("worst images (lowest F1)")
        for name in ("boxes", "found", "false", "F1"):
            worst.add_column(name, justify="right")
        for image in report.worst:
            worst.add_row(Text(image.name), str(image.boxes), str(image.found), str(image.false), f"{image.f1:.2f}")
        yield worst


def _number(value: float) -> str:
    """Write a score; an undefined one as a dash."""
    return f"{value:.3f}" if math.isfinite(value) else "–"
