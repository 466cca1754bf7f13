"""Real photographs: our Faster R-CNN and torchvision's, trained alike on one backbone from fresh weights."""

import argparse
import tempfile
import time
from pathlib import Path

import torchvision_detectors
from spnas_core.configuration import read_toml, validate
from spnas_core.plugins import plugin_manager
from spnas_detect.jobs import TrainSettings, train

TITLE = "BCCD from fresh weights, beside torchvision's Faster R-CNN"
CONFIG = Path(__file__).resolve().parent.parent / "examples" / "bccd_train.toml"
DETECTORS = {"ours": "faster-rcnn", "torchvision's": torchvision_detectors.PEERS["faster-rcnn"]}


def run(arguments: argparse.Namespace) -> str:
    """Train both in turns, and return the per-class table of test images."""
    if arguments.data is None:
        raise SystemExit("The bccd benchmark needs --data voc:PATH/TO/BCCD.")
    if not plugin_manager().is_registered(torchvision_detectors):
        plugin_manager().register(torchvision_detectors)
    rows, times = [], []
    with tempfile.TemporaryDirectory() as folder:
        for title, detector in DETECTORS.items():
            values = read_toml(CONFIG) | {"data": arguments.data, "seed": arguments.seed}
            values["detector"] = values["detector"] | {"detector": detector}
            begin = time.process_time()
            out = Path(folder, detector)
            scores = train(validate(TrainSettings, values), out, cache=Path(folder, "cache")).scores
            times.append(f"{title} {(time.process_time() - begin) / 60:.1f}")
            for name in sorted(scores):
                if "AP50" in name:
                    rows.append(f"| {title} | `{name}` | {scores[name]:.3f} |")
                    print(rows[-1], flush=True)
    table = "\n".join([f"| detector | score | seed {arguments.seed} |", "|---|---|---|", *rows])
    return f"{table}\n\nCPU minutes of training and scoring: {', '.join(times)}."
