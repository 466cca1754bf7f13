"""``spnas data``: look at data sets."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import click

from spnas_core.commands.columns import Column, numbers
from spnas_core.commands.json_text import to_json
from spnas_core.commands.parameters import IMAGE_SIZE
from spnas_core.errors import DataError
from spnas_detect.commands.convert import convert
from spnas_detect.commands.options import read_options

if TYPE_CHECKING:
    from spnas_core.commands.console import PlainConsole
    from spnas_detect.data import DetectionData, Fault, Repair


@click.group(name="data")
def data_group() -> None:
    """Look at data sets, and write them in other layouts."""


data_group.add_command(convert)


@data_group.command()
@click.argument("spec")
@click.option("--data-seed", type=click.IntRange(0), default=0, show_default=True, help="Of carved splits.")
@click.option("--data-option", "options", metavar="KEY=VALUE", multiple=True, help="Option of the kind of data.")
@click.option(
    "--image-size",
    type=IMAGE_SIZE,
    help="Canvas that anchors are suggested for, in pixels.  [default: the canvas that a training would choose]",
)
@click.option("--no-decode", is_flag=True, help="Do not decode images, only read their headers.")
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

    All faults are listed. Exit code 1 where a training would refuse the data.

    \b
    Example: spnas data check voc:VOCdevkit/VOC2007
    """
    from spnas_detect.data import FaultyDataError
    from spnas_detect.data.survey import find_faults, statistics, suggest
    from spnas_detect.detectors.settings import DetectorSettings
    from spnas_detect.opening import read_known
    from spnas_detect.suiting import enough_detections, is_generated, suitable_canvas

    extra = read_options(options)
    try:
        data = read_known(spec, data_seed, extra).made()
    except DataError as error:
        _refuse(spec, error, error.faults if isinstance(error, FaultyDataError) else (), as_json=as_json)
    settings, training = DetectorSettings(), [int((~one.ignore).sum()) for one in data.splits["train"]]
    found = find_faults(data, opens_images=not no_decode)
    canvas = None if is_generated(spec) else suitable_canvas(data.splits["train"])
    detections = settings.max_detections if is_generated(spec) else enough_detections(training)
    fatal = sum(fault.is_fatal for fault in found)
    report = {
        "spec": spec,
        "usable": not fatal,
        "layout": data.layout,
        "tests_on_validation": data.tests_on_validation,
        "repairs": [repair.as_dict() for repair in data.repairs],
        "notes": [*data.notes, *_limits(data, detections)],
        "splits": {split: statistics(records, data.classes) for split, records in data.splits.items()},
        "faults": [fault.as_dict() for fault in found],
        "chosen_image_size": None if canvas is None else canvas.size,
        "suggestions": suggest(
            data.splits["train"],
            settings.anchor_scales,
            settings.aspect_ratios,
            image_size or (None if canvas is None else canvas.size),
        ),
    }
    if as_json:
        click.echo(to_json(report))
    else:
        _show(report, data.repairs)
    if fatal:
        _fail(f"{spec} cannot be used: {fatal} of its {len(found)} faults forbid it")


def _refuse(spec: str, error: DataError, faults: "tuple[Fault, ...]", *, as_json: bool) -> NoReturn:
    """Say why there is nothing to look at, and all that is known to be wrong."""
    listed = [fault.as_dict() for fault in faults]
    if as_json:
        refusal = {"spec": spec, "usable": False, "error": str(error), "faults": listed}
        click.echo(to_json(refusal))
    elif listed:
        from spnas_core.commands.console import make_console

        _show_faults(listed, make_console())
    _fail(str(error))


def _fail(reason: str) -> NoReturn:
    from spnas_core.commands.console import make_console

    make_console(stderr=True).show(f"error: {reason}")
    click.get_current_context().exit(1)


def _limits(data: "DetectionData", most: int) -> list[str]:
    """Say where the number of detections that a training would choose does not suffice."""
    from spnas_detect.data.survey import recall_limit

    return [
        note
        for split in (("validation",) if data.tests_on_validation else ("validation", "test"))
        for note in recall_limit(split, [int((~record.ignore).sum()) for record in data.splits[split]], most)
    ]


def _show(report: dict[str, Any], repairs: "Sequence[Repair]") -> None:
    from spnas_core.commands.console import make_console
    from spnas_core.commands.tables import make_table

    console = make_console()
    if report["layout"]:
        console.show(f"layout: {report['layout']}")
    for repair in repairs:
        console.show(f"repaired: {repair}")
    for note in report["notes"]:
        console.show(f"data: {note}")
    once = [split for split in report["splits"] if split != "test" or not report["tests_on_validation"]]
    for split in once:
        counts = report["splits"][split]
        console.show(
            f"{split}: {counts['images']} images ({counts['without_boxes']} without boxes), {counts['boxes']} boxes, "
            f"{counts['ignored']} ignored; {counts['small']} small, {counts['medium']} medium, {counts['large']} large"
        )
        table = make_table((Column("class"), *numbers("boxes", "share", "images")))
        for name, row in counts["classes"].items():
            table.add_row(name, str(row["boxes"]), f"{row['share']:.1%}", str(row["images"]))
        console.show(table)
        table = make_table((Column("pixels"), *numbers("least", "10 %", "median", "90 %", "greatest")))
        for key in ("side", "aspect_ratio", "image_width", "image_height"):
            table.add_row(key.replace("_", " "), *(f"{value:.4g}" for value in counts[key]))
        console.show(table)
    _show_faults(report["faults"], console)
    if (chosen := report["chosen_image_size"]) is not None:
        console.show(f"Trainings and searches whose settings name no canvas take {'x'.join(map(str, chosen))}.")
    advice = report["suggestions"]
    if advice is not None:
        canvas = "x".join(map(str, advice["image_size"]))
        console.show(
            f"On a canvas of {canvas}, nine of ten boxes have sides of {advice['least_side']:.0f} pixels or more "
            f"(square root of the area); from a shorter side of {advice['least_shorter_side']} on they have 8."
        )
        console.show(f"Anchors on a canvas of {canvas}, by the boxes that one of them fits:")
        for key in ("default", "suggested"):
            fit = advice[key]
            console.show(
                f"  {key}: anchor_scales {fit['anchor_scales']}, aspect_ratios {fit['aspect_ratios']} "
                f"({fit['per_position']} at a position): IoU 0.5 with {fit['iou50']:.1%}, 0.7 with {fit['iou70']:.1%}"
            )


def _show_faults(faults: Sequence[Mapping[str, str]], console: "PlainConsole") -> None:
    for fault in faults:
        place = "" if fault["where"] in fault["text"] else f"{fault['where']}: "
        console.show(f"{fault['kind']}: {place}{fault['text']}")
    console.show(f"Faults: {len(faults)}.")
