"""Photographs by `--preset small` and no other setting: our Faster R-CNN and torchvision's, trained alike."""

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from statistics import fmean

import torchvision_detectors
from spnas_core.configuration import validate
from spnas_core.plugins import plugin_manager
from spnas_core.presets import find_preset
from spnas_detect.jobs import TrainFolder, TrainSettings, read_scores, train
from spnas_detect.jobs.completion import suited_settings
from spnas_detect.jobs.presets import training_values

TITLE = "Photographs by `--preset small`, beside torchvision's Faster R-CNN"
PRESET = "small"
DETECTORS = {"ours": "faster-rcnn", "torchvision's": torchvision_detectors.PEERS["faster-rcnn"]}
SCORES = ("AP50", "AP")
TIMES = ("minutes", "processor")


def run(arguments: argparse.Namespace) -> str:
    """Train on each data set, and return a table of test images for each."""
    if arguments.data is None:
        raise SystemExit("The benchmark of photographs needs --data voc:PATH.")
    if not plugin_manager().is_registered(torchvision_detectors):
        plugin_manager().register(torchvision_detectors)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(arguments.work or temporary)
        return "\n\n".join(_table(data, folder, arguments.repetitions) for data in arguments.data)


def _table(data: str, folder: Path, repetitions: int) -> str:
    """Train both in turns, seed by seed."""
    settings, _ = suited_settings({**training_values(find_preset(PRESET)), "data": data})
    name = Path(data.partition(":")[2]).name
    rows = {title: [] for title in DETECTORS}
    for seed in range(repetitions):
        for title, detector in DETECTORS.items():
            values = settings.as_dict() | {"seed": seed}
            values["detector"] = values["detector"] | {"detector": detector}
            rows[title].append(_trained(validate(TrainSettings, values), folder / f"{name}-{detector}-{seed}"))
            print(name, title, seed, rows[title][-1], flush=True)
    head = (
        f"`{name}`: test images; `{settings.architecture}`, canvas {settings.image_size[0]}×{settings.image_size[1]}, "
        f"{settings.epochs} epochs from fresh weights, seeds 0 to {repetitions - 1}; the same backbone, neck, data, "
        "augmentation and epochs on both sides."
    )
    lines = [
        "| detector | score | mean | per seed | minutes | minutes of processor time |",
        "|---|---|---|---|---|---|",
        *(_row(title, name, found) for title, found in rows.items() for name in SCORES),
    ]
    return "\n".join([head, "", *lines])


def _trained(settings: TrainSettings, folder: Path) -> dict[str, float]:
    """Train, unless that is done, and return the scores and how long it took."""
    took = folder / "minutes.json"
    if not took.exists():
        wall, processor = time.monotonic(), os.times()
        train(settings, folder, resume=TrainFolder(folder).checkpoint.exists(), cache=folder.parent / "cache")
        after = os.times()
        spent = after.user + after.system - processor.user - processor.system
        took.write_text(json.dumps({"minutes": (time.monotonic() - wall) / 60, "processor": spent / 60}))
    return {**read_scores(folder), **json.loads(took.read_text())}


def _row(title: str, name: str, found: list[dict[str, float]]) -> str:
    scores = [one[name] for one in found]
    cells = [
        f"{fmean(scores):.3f}",
        " ".join(f"{score:.3f}" for score in scores),
        *(
            " ".join(f"{one[key]:.1f}" for one in found) if name == SCORES[0] else ""
            for key in ("minutes", "processor")
        ),
    ]
    return f"| {title} | `{name}` | {' | '.join(cells)} |"
