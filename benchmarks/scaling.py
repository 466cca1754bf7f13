"""Disk, memory and minutes of large data sets in each form of the cache, extrapolated from small ones."""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import torch
from PIL import Image

import gpu_recipe
from loader import CANVAS, IMAGES, our_batches, rate
from spnas_detect.data import build_cache, open_data
from spnas_detect.data.cache.modes import GIB, MODES

TITLE = "What large data sets take"
PAGE = "scaling.md"
SIZES = {"COCO, 118,287 images": 118_287, "1,000,000 images": 1_000_000}
MANY, OBJECTS, REPEATS = 20_000, 7, 3
SMALL = (32, 32)

_RESIDENT = """
import sys
from pathlib import Path
from spnas_detect.data import Loader, open_cache, open_data

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

what, place = sys.argv[1:]
if what == "parse":
    held = open_data(f"coco:{place}", seed=0)
else:
    held = open_cache(Path(place))
    next(Loader(held.split("train"), batch_size=1, shuffle=True, seed=0).epoch(0))
print(resident())
"""


def small_images(folder: Path) -> Path:
    """Write many tiny images, with COCO's usual number of objects: what is kept of each but its pixels is the same."""
    (folder / "images").mkdir(parents=True)
    Image.new("RGB", (16, 16), "grey").save(folder / "one.jpg")
    content = (folder / "one.jpg").read_bytes()
    images, boxes = [], []
    for number in range(MANY):
        name = f"images/{number:012d}.jpg"
        (folder / name).write_bytes(content)
        images.append({"id": number, "file_name": name, "width": 16, "height": 16})
        for place in range(OBJECTS):
            box = {"id": number * OBJECTS + place, "image_id": number, "category_id": 1, "iscrowd": 0}
            boxes.append({**box, "bbox": [place, place, 8.5, 7.5], "area": 63.75})
    table = folder / "annotations.json"
    names = [{"id": 1, "name": "thing"}]
    table.write_text(json.dumps({"images": images, "annotations": boxes, "categories": names}))
    return table


def _resident(what: str, place: Path) -> int:
    """Return the bytes of memory of a process that has opened a data set, or its cache."""
    command = [sys.executable, "-c", _RESIDENT, what, str(place)]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def run(_: argparse.Namespace) -> str:
    """Measure in one thread, and return the tables."""
    torch.set_num_threads(1)
    build, disk, read, memory = {}, {}, {}, {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = open_data(f"coco:{gpu_recipe.photographs(folder, IMAGES)}", seed=0)
        file_size = median(file.stat().st_size for file in (folder / "images").iterdir())
        for mode in MODES:
            begin = time.process_time()
            cache = build_cache(data, folder / "cache", image_size=CANVAS, mode=mode)
            build[mode] = (time.process_time() - begin) / IMAGES
            held = sum(path.stat().st_size for path in cache.folder.rglob("*.npy"))
            disk[mode] = (held + sum(path.stat().st_size for path in cache.folder.rglob("*.pack"))) / IMAGES
            measure = rate(our_batches(cache, photometric=False))
            read[mode] = 1 / median(measure() for _ in range(REPEATS))
        begin = time.process_time()
        many = open_data(f"coco:{small_images(folder / 'many')}", seed=0)
        parse = (time.process_time() - begin) / MANY
        for mode in MODES:
            few = build_cache(data, folder / "cache", image_size=SMALL, mode=mode)
            base = _resident("open", few.folder)
            cache = build_cache(many, folder / "cache", image_size=SMALL, mode=mode)
            index = sum(path.stat().st_size for path in cache.folder.rglob("*") if path.suffix in {".npz", ".json"})
            disk[mode] += index / MANY
            memory[mode] = (_resident("open", cache.folder) - base) / MANY
        before, table = _resident("parse", folder / "annotations.json"), folder / "many" / "annotations.json"
        parsed = (_resident("parse", table) - before) / MANY
    rows = [
        f"| {what} | `{mode}` | {count * disk[mode] / GIB:,.1f} GiB | {count * (parse + build[mode]) / 60:,.0f} | "
        f"{count * read[mode] / 60:,.0f} | {count * memory[mode] / 2**20:,.0f} MiB |"
        for what, count in SIZES.items()
        for mode in MODES
    ]
    parsing = ", ".join(
        f"{count * parse / 60:,.1f} minutes and {count * parsed / 2**20:,.0f} MiB for {what}"
        for what, count in SIZES.items()
    )
    titles = ("data", "`cache`", "disk", "minutes to build", "minutes to read an epoch", "memory of a process")
    head = "| " + " | ".join(titles) + " |\n" + "|---" * len(titles) + "|"
    what = (
        f"A canvas of {CANVAS[0]}×{CANVAS[1]}; {IMAGES} JPEGs of {gpu_recipe.SIZE[0]}×{gpu_recipe.SIZE[1]} pixels and "
        f"{file_size / 1000:,.0f} kB for disk and minutes, {MANY:,} small ones with {OBJECTS} objects each for the "
        "rest. Minutes are of one core: divide by the cores. Memory is what a process holds of the data besides the "
        f"{base / 2**20:,.0f} MiB that it has anyway; the threads of a loader share it. Pixels are in the page cache."
    )
    more = f"Parsing the annotations, by one process before a run begins, takes {parsing}."
    return "\n".join([what, "", head, *rows, "", more])
