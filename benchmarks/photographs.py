"""Photographs by `--preset small` and no other setting: our Faster R-CNN and torchvision's, trained alike."""

import argparse
import json
import tempfile
from pathlib import Path
from statistics import fmean

import torchvision_detectors
from spnas_core.configuration import validate
from spnas_core.plugins import plugin_manager
from spnas_core.presets import find_preset
from spnas_detect.jobs import TrainFolder, TrainSettings, read_scores
from spnas_detect.jobs.comparison import Comparison, compare
from spnas_detect.jobs.completion import suited_settings
from spnas_detect.jobs.presets import training_values
from spnas_detect.metrics.intervals import mean_interval

TITLE = "Photographs by `--preset small`, beside torchvision's Faster R-CNN"
PRESET = "small"
DETECTORS = {"ours": "faster-rcnn", "torchvision's": torchvision_detectors.PEERS["faster-rcnn"]}
SCORES = ("AP50", "AP")


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
    """Train both, seed by seed, unless that is done; minutes are those of a training's last session."""
    settings, _ = suited_settings({**training_values(find_preset(PRESET)), "data": data})
    name = Path(data.partition(":")[2]).name
    values = settings.as_dict()
    sides = [{**values, "detector": {**values["detector"], "detector": detector}} for detector in DETECTORS.values()]
    out = folder / name
    found = compare([validate(TrainSettings, side) for side in sides], repetitions, out)
    if not isinstance(found, Comparison):
        raise SystemExit("Stopped. With --work, the same command goes on.")
    head = (
        f"`{name}`: test images; `{settings.architecture}`, canvas {settings.image_size[0]}×{settings.image_size[1]}, "
        f"{settings.epochs} epochs from fresh weights, seeds 0 to {repetitions - 1}; the same backbone, neck, data, "
        "augmentation and epochs on both sides."
    )
    found_scores: dict[str, list[list[float]]] = {score: [] for score in SCORES}
    lines = ["| detector | score | mean | per seed | minutes |", "|---|---|---|---|---|"]
    for place, title in enumerate(DETECTORS, 1):
        folders = [out / f"{place}-{seed}" for seed in range(repetitions)]
        minutes = [json.loads(TrainFolder(one).scores.read_text())["seconds"] / 60 for one in folders]
        for score in SCORES:
            scored = [read_scores(one)[score] for one in folders]
            found_scores[score].append(scored)
            took = " ".join(f"{one:.1f}" for one in minutes) if score == SCORES[0] else ""
            shown = " ".join(f"{one:.3f}" for one in scored)
            lines.append(f"| {title} | `{score}` | {fmean(scored):.3f} | {shown} | {took} |")
    differences = []
    for score, pair in found_scores.items():
        interval = mean_interval([one - other for one, other in zip(*pair, strict=True)])
        differences.append(f"{interval.mean:+.3f} ± {interval.half:.3f} {score}")
    tail = f"Ours minus torchvision's, seed by seed, with 95 % intervals (Student's t): {'; '.join(differences)}."
    return "\n".join([head, "", *lines, "", tail])
