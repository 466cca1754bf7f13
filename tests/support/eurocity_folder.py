"""Small data sets in the layout of EuroCity Persons."""

import json

from PIL import Image


def thing(identity, box=(10, 20, 40, 80), tags=(), children=()):
    x0, y0, x1, y1 = box
    return {
        "identity": identity,
        "x0": x0,
        "y0": y0,
        "x1": x1,
        "y1": y1,
        "tags": list(tags),
        "children": list(children),
    }


def frame(*children, size=(192, 128)):
    return {"identity": "frame", "imagewidth": size[0], "imageheight": size[1], "children": list(children)}


def write(root, time, split, city, number, content):
    name = f"{city}_{number:05d}"
    labels, images = (root / time / kind / split / city for kind in ("labels", "img"))
    labels.mkdir(parents=True, exist_ok=True)
    images.mkdir(parents=True, exist_ok=True)
    (labels / f"{name}.json").write_text(content if isinstance(content, str) else json.dumps(content, indent=1))
    Image.new("RGB", (192, 128), (9, 99, 199)).save(images / f"{name}.png")
    return labels / f"{name}.json"
