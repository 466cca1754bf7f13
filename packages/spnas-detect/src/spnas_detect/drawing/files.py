"""Pictures as files that say who has made them."""

from pathlib import Path

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from spnas_core.durable import whole_file

MAKER = "spnas"
JPEG_QUALITY = 92


def save_picture(picture: Image.Image, path: Path) -> None:
    """Write a picture, complete or not at all: as PNG, or as JPEG where its name ends so."""
    with whole_file(path, is_durable=False) as unfinished:
        if path.suffix.lower() == ".png":
            mark = PngInfo()
            mark.add_text("Software", MAKER)
            picture.save(unfinished, format="PNG", pnginfo=mark)
        else:
            # Full colour resolution: thin coloured lines would smear otherwise.
            picture.save(unfinished, format="JPEG", quality=JPEG_QUALITY, subsampling=0, comment=MAKER.encode())


def is_our_picture(path: Path) -> bool:
    """Whether ``save_picture`` has written a file."""
    try:
        with Image.open(path) as image:
            return MAKER in {image.info.get("Software"), _text(image.info.get("comment"))}
    except (OSError, SyntaxError, ValueError):
        return False


def _text(value: object) -> object:
    return value.decode("latin-1") if isinstance(value, bytes) else value
