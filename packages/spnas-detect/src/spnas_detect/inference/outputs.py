"""What a prediction writes, and what it must not overwrite."""

import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from spnas_core.commands.json_text import to_json
from spnas_core.durable import whole_file
from spnas_core.errors import MALFORMED, ConfigError
from spnas_detect.drawing import is_our_picture

DOCUMENT = "predictions.json"
DESCRIPTION = "made by spnas predict"
"""By this the document is known to be ours, and may be written again."""

MOST_BYTES = 240
"""Of a file's name: most disks take 255, and a number, or what a file is called until it is complete, comes on top."""
_KEPT_SUFFIXES = frozenset({".jpeg", ".jpg", ".png"})


def name_pictures(images: Sequence[Path], folder: Path) -> tuple[Path, ...]:
    """Say where the picture of each image goes.

    A picture is called as its image, with ``.png`` for formats other than PNG and JPEG. Images that would share a name
    get the folders in front in which they differ: ``a/x.jpg`` and ``b/x.jpg`` become ``a-x.jpg`` and ``b-x.jpg``.

    Args:
        images: different files.
        folder: of the pictures.

    Raises:
        ConfigError: a picture would overwrite an image, or a file that no earlier call has made.
    """
    plain = [_picture_name(image.name) for image in images]
    counts = Counter(name.casefold() for name in plain)
    shared = [image for image, name in zip(images, plain, strict=True) if counts[name.casefold()] > 1]
    common = Path(os.path.commonpath([image.resolve().parent for image in shared])) if shared else Path()
    taken = {DOCUMENT}
    names: list[str] = []
    for image, name in zip(images, plain, strict=True):
        longer = name
        if counts[name.casefold()] > 1:
            longer = "-".join((*image.resolve().parent.relative_to(common).parts, name))
        names.append(_free(longer, taken))
    pictures = tuple(folder / name for name in names)
    _check_free(images, pictures, folder)
    return pictures


def _picture_name(name: str) -> str:
    path = Path(name)
    return name if path.suffix.lower() in _KEPT_SUFFIXES else f"{path.stem}.png"


def fitting(stem: str, suffix: str) -> str:
    """Return a file's name, its stem cut off where it has more bytes than a name may have."""
    while len(os.fsencode(f"{stem}{suffix}")) > MOST_BYTES:
        stem = stem[:-1]
    return f"{stem}{suffix}"


def _free(name: str, taken: set[str]) -> str:
    """Number a name that is taken even so, and take it; case does not tell names apart, as on some disks."""
    path, number = Path(fitting(Path(name).stem, Path(name).suffix)), 1
    free = path.name
    while free.casefold() in taken:
        number += 1
        free = f"{path.stem}-{number}{path.suffix}"
    taken.add(free.casefold())
    return free


def _check_free(images: Sequence[Path], pictures: Sequence[Path], folder: Path) -> None:
    originals = {_identity(image): image for image in images}
    for picture in (*pictures, folder / DOCUMENT):
        if picture.exists() and _identity(picture) in originals:
            original = originals[_identity(picture)]
            raise ConfigError(f"{picture} would overwrite the image {original}: choose another --out")
    refuse_foreign((*pictures, folder / DOCUMENT), DESCRIPTION)


def _identity(path: Path) -> tuple[int, int]:
    """Tell files apart, whatever links lead to them."""
    status = path.stat()
    return status.st_dev, status.st_ino


def refuse_foreign(paths: Iterable[Path], description: str, option: str = "--out") -> None:
    """See to it that only what an earlier call has written is overwritten.

    Args:
        paths: of pictures and JSON documents that will be written.
        description: of our documents, under ``info``.
        option: that says where they go.

    Raises:
        ConfigError: somebody else's file is there.
    """
    for path in paths:
        if path.exists() and not (is_our_picture(path) or _says(path, description)):
            raise ConfigError(f"{path} exists and was not written by spnas: choose another {option}")


def _says(path: Path, description: str) -> bool:
    """Whether a file is a document of ours."""
    try:
        said: str = json.loads(path.read_text(encoding="utf-8"))["info"]["description"]
    except (OSError, *MALFORMED):
        return False
    return said == description


def write_document(path: Path, document: Mapping[str, Any]) -> None:
    """Write a JSON file, complete or not at all."""
    with whole_file(path, is_durable=False) as unfinished:
        unfinished.write_text(to_json(document, indent=1), encoding="utf-8")
