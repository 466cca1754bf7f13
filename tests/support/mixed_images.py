"""A COCO folder of images of many kinds and both orientations, for tests of how images are kept."""

from pathlib import Path

import numpy as np
from image_data import save_coco
from image_files import write_deep_png
from PIL import Image


def photograph(width, height, seed=0):
    """Something smooth, as JPEGs are made of: uint8[height, width, 3]."""
    small = np.random.default_rng(seed).integers(0, 256, (height // 8 + 2, width // 8 + 2, 3), np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


def write_mixed(folder: Path) -> Path:
    """Write lying, standing and square images, turned by EXIF, grey, of 16 bit, of a palette, PNG, JPEG, BMP, TIFF."""
    images = folder / "images"
    images.mkdir(parents=True)
    sizes = {}

    def save(name, picture, annotated=None, **options):
        picture.save(images / name, **options)
        sizes[name] = annotated or picture.size

    save("wrong.jpg", photograph(44, 66, 27), (66, 44))  # annotated lying, and it stands
    for number, (width, height) in enumerate([(90, 60), (60, 90), (200, 50), (64, 64), (50, 201), (48, 64), (30, 20)]):
        save(f"photo{number}.jpg", photograph(width, height, number), quality=90)
    turned = Image.Exif()
    turned[0x0112] = 6
    save("turned.jpg", photograph(80, 50, 20), (50, 80), exif=turned)
    save("grey.png", photograph(70, 40, 21).convert("L"))
    save("palette.gif", photograph(40, 70, 22).convert("P"))
    save("plain.bmp", photograph(40, 50, 23))
    save("raw.tif", photograph(60, 50, 24))
    save("packed.tif", photograph(50, 60, 25), compression="tiff_lzw")
    deep = np.random.default_rng(26).integers(0, 65536, (40, 52, 3)).astype(np.uint16)
    write_deep_png(images / "deep.png", deep)
    sizes["deep.png"] = (52, 40)
    return save_coco(
        folder, train=sizes, test={name: sizes[name] for name in ("photo0.jpg", "photo1.jpg", "turned.jpg")}
    )
