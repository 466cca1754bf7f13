"""Embedded data: squares, discs, triangles and rings on a textured ground, drawn from a seed.

Nothing is downloaded and nothing is stored: image *i* of a split is a function of (seed, split, i, options),
so a larger split begins with the same images as a smaller one. Colours are random for every class; what tells
the classes apart is their outline only. Strokes and crosses, which belong to no class, distract.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from typing import cast, overload

import numpy as np
from numpy.typing import NDArray

from spnas_core.errors import DataError
from spnas_detect.data._base import SPLITS, DetectionData, ImageRecord, check_options, fingerprint

CLASSES = ("square", "disc", "triangle", "ring")

MERGED = "object"
"""Name of the class that all outlines are where they are merged."""

_GENERATOR = 1  # raise it when the same seed draws other images
_TRIES = 30

_Mask = NDArray[np.bool_]
_Floats = NDArray[np.float32]


@dataclass(frozen=True)
class ShapesOptions:
    """What the generated images hold.

    Attributes:
        image_size: height and width in pixels, 32…2048.
        train: number of training images, at least 1.
        validation: number of search-validation images, at least 1.
        test: number of test images, at least 1.
        min_size: least width and height of an object's box in pixels, 4…max_size.
        max_size: greatest width and height of an object's box in pixels, up to image_size.
        small_share: sizes are log-uniform between the bounds; this share of the objects, 0…1, is drawn from
            the lowest third of the (logarithmic) range only.
        objects: least and greatest number of objects per image, 0 ≤ least ≤ greatest ≤ 100, greatest ≥ 1.
            Objects that find no free place are left out.
        occlusion: the greatest share, 0…1, of an object's filled outline that objects drawn later may cover;
            0 means that no object touches another.
        crowding: probability, 0…1, that an object is placed near an earlier one.
        classes: outlines that occur, one or more of ``CLASSES``, each once.
        merged: whether all of them are one class, called ``object``: what is to be learned then is where things are and
            how large, and not which outline they have.
    """

    image_size: int = 128
    train: int = 256
    validation: int = 128
    test: int = 200
    min_size: int = 8
    max_size: int = 32
    small_share: float = 0.0
    objects: tuple[int, int] = (5, 10)
    occlusion: float = 0.25
    crowding: float = 0.3
    classes: tuple[str, ...] = CLASSES
    merged: bool = False

    def __post_init__(self) -> None:
        _check_integer("image_size", self.image_size, 32, 2048)
        for split in SPLITS:
            _check_integer(split, getattr(self, split), 1, 10_000_000)
        _check_integer("max_size", self.max_size, 4, self.image_size)
        _check_integer("min_size", self.min_size, 4, self.max_size)
        for key in ("small_share", "occlusion", "crowding"):
            value = getattr(self, key)
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            if not is_number or not 0 <= value <= 1:
                raise DataError(f"shapes {key} is {value!r}: it must be a number in 0…1")
        pair: object = self.objects
        if not isinstance(pair, tuple) or len(pair) != 2:
            raise DataError(f"shapes objects is {pair!r}: it must be a pair of integers, least and greatest")
        _check_integer("objects (greatest)", pair[1], 1, 100)
        _check_integer("objects (least)", pair[0], 0, pair[1])
        names: object = self.classes
        if not isinstance(names, tuple) or not names or len(set(names)) < len(names) or not set(names) <= set(CLASSES):
            raise DataError(f"shapes classes is {names!r}: it must be one or more of {', '.join(CLASSES)}, each once")
        if not isinstance(self.merged, bool):
            raise DataError(f"shapes merged is {self.merged!r}: it must be true or false")

    @property
    def annotated(self) -> tuple[str, ...]:
        """Names of the classes that annotations tell apart, in order of their labels from 1."""
        return (MERGED,) if self.merged else self.classes


def _check_integer(key: str, value: object, low: int, high: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise DataError(f"shapes {key} is {value!r}: it must be an integer in {low}…{high}")


@dataclass(frozen=True, eq=False)
class _Drawn:
    """One placed object: its pixels, and where they lie."""

    outline: str
    mask: _Mask
    x: int
    y: int


@dataclass(frozen=True, eq=False)
class _Scene:
    """The placed objects, in drawing order, and the seed of everything that has no annotation."""

    drawn: tuple[_Drawn, ...]
    paint_seed: int


def read_shapes(path: str | None, *, seed: int, options: Mapping[str, object]) -> DetectionData:
    """Prepare the embedded data; images are drawn when they are read.

    Args:
        path: must be None.
        seed: decides every pixel.
        options: fields of ShapesOptions.

    Returns:
        Four classes in three splits.

    Raises:
        DataError: a path, an unknown option, or one out of its range.
    """
    if path is not None:
        raise DataError(f"shapes data is generated and takes no path, got {path!r}: write data = 'shapes'")
    if seed < 0:
        raise DataError(f"the seed of shapes data is {seed}: it must not be negative")
    check_options("shapes", options, (field.name for field in fields(ShapesOptions)))
    values = dict(options)
    for key in ("objects", "classes"):
        if isinstance(values.get(key), list):  # configuration files know lists only
            values[key] = tuple(cast("list[object]", values[key]))
    shapes = replace(ShapesOptions(), **values)  # type: ignore[arg-type]  # checked in __post_init__
    return DetectionData(
        spec="shapes",
        classes=shapes.annotated,
        splits={name: _ShapesSplit(shapes, seed, index, getattr(shapes, name)) for index, name in enumerate(SPLITS)},
        fingerprint=fingerprint(["shapes", _GENERATOR, seed, sorted(asdict(shapes).items())]),
    )


class _ShapesSplit(Sequence[ImageRecord]):
    """Records that are laid out when they are asked for, so that opening the data costs nothing."""

    def __init__(self, options: ShapesOptions, seed: int, split: int, count: int) -> None:
        self._options = options
        self._seed = seed
        self._split = split
        self._count = count

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> ImageRecord: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[ImageRecord]: ...
    def __getitem__(self, index: int | slice) -> ImageRecord | Sequence[ImageRecord]:
        if isinstance(index, slice):
            return [self[position] for position in range(*index.indices(self._count))]
        position = index + self._count if index < 0 else index
        if not 0 <= position < self._count:
            raise IndexError(index)
        scene = _lay_out(self._options, np.random.default_rng([self._seed, self._split, position]))
        corners = [(d.x, d.y, d.x + d.mask.shape[1], d.y + d.mask.shape[0]) for d in scene.drawn]
        return ImageRecord(
            name=f"{SPLITS[self._split]}-{position:05d}",
            read=partial(_paint, self._options, scene),
            width=self._options.image_size,
            height=self._options.image_size,
            boxes=np.asarray(corners, np.float32).reshape(-1, 4),
            labels=np.asarray([self._label(d) for d in scene.drawn], np.int64),
            ignore=np.zeros(len(scene.drawn), np.bool_),
        )

    def _label(self, drawn: "_Drawn") -> int:
        return 1 if self._options.merged else self._options.classes.index(drawn.outline) + 1


# ---------------------------------------------------------------------------------------------- layout


def _lay_out(options: ShapesOptions, rng: np.random.Generator) -> _Scene:
    """Choose classes, sizes, outlines and places."""
    extent = options.image_size
    owner = np.full((extent, extent), -1, np.int16)  # the topmost object of each pixel
    areas: list[int] = []
    covered: NDArray[np.int64] = np.zeros(options.objects[1], np.int64)
    drawn: list[_Drawn] = []
    for _ in range(int(rng.integers(options.objects[0], options.objects[1] + 1))):
        name = options.classes[int(rng.integers(len(options.classes)))]
        width, height = _draw_size(options, rng)
        outline, mask = _draw_outline(name, width, height, rng)
        area = int(outline.sum())
        for _ in range(_TRIES):
            x, y = _draw_place(options, drawn, width, height, rng)
            window = owner[y : y + height, x : x + width]
            hidden = np.bincount(window[outline] + 1, minlength=len(drawn) + 1)[1:]
            limits = options.occlusion * np.asarray(areas)
            if np.all((covered[: len(drawn)] + hidden <= limits) | (hidden == 0)):
                covered[: len(drawn)] += hidden
                window[outline] = len(drawn)
                areas.append(area)
                drawn.append(_Drawn(name, mask, x, y))
                break
    return _Scene(tuple(drawn), int(rng.integers(2**62)))


def _draw_size(options: ShapesOptions, rng: np.random.Generator) -> tuple[int, int]:
    low, high = math.log(options.min_size), math.log(options.max_size)
    if rng.random() < options.small_share:
        high = low + (high - low) / 3
    size = math.exp(rng.uniform(low, high))
    stretch = rng.uniform(0.9, 1.1)

    def bounded(side: float) -> int:
        return min(max(round(side), options.min_size), options.max_size)

    return bounded(size * stretch), bounded(size / stretch)


def _draw_place(
    options: ShapesOptions, drawn: Sequence[_Drawn], width: int, height: int, rng: np.random.Generator
) -> tuple[int, int]:
    """Choose the top-left corner of a box, inside the image."""
    x_limit, y_limit = options.image_size - width, options.image_size - height
    if not drawn or rng.random() >= options.crowding:
        return int(rng.integers(x_limit + 1)), int(rng.integers(y_limit + 1))
    other = drawn[int(rng.integers(len(drawn)))]
    other_height, other_width = other.mask.shape
    angle, reach = rng.uniform(0, 2 * math.pi), rng.uniform(0.6, 1.2)
    x = other.x + (other_width - width + math.cos(angle) * reach * (other_width + width)) / 2
    y = other.y + (other_height - height + math.sin(angle) * reach * (other_height + height)) / 2
    return min(max(round(x), 0), x_limit), min(max(round(y), 0), y_limit)


def _draw_outline(name: str, width: int, height: int, rng: np.random.Generator) -> tuple[_Mask, _Mask]:
    """Draw one object so that its pixels touch all four sides of a box.

    Returns:
        bool[height, width] twice: the filled outline, and the pixels that are painted (a ring has a hole).
    """
    u = (np.arange(width, dtype=np.float32) * 2 + 1 - width) / width
    v = ((np.arange(height, dtype=np.float32) * 2 + 1 - height) / height)[:, None]
    if name in {"disc", "ring"}:
        radius = u**2 + v**2
        outline = _fit(radius <= 1.02, width, height)
        if name == "disc":
            return outline, outline
        return outline, outline & (radius > rng.uniform(0.5, 0.65) ** 2)
    corners = 4 if name == "square" else 3
    turn = rng.uniform(-0.3, 0.3) if corners == 4 else rng.uniform(0, 2 * math.pi)
    angles = turn + math.pi / corners + np.arange(corners) * (2 * math.pi / corners)
    points = np.stack([np.cos(angles), np.sin(angles)])
    # stretched so that the corners reach the sides of [-1, 1]²
    low, high = points.min(1, keepdims=True), points.max(1, keepdims=True)
    px, py = (points - low) * 2 / (high - low) - 1
    inside = np.ones((height, width), np.bool_)
    for i in range(corners):
        j = (i + 1) % corners
        inside &= (px[j] - px[i]) * (v - py[i]) - (py[j] - py[i]) * (u - px[i]) >= -0.02
    outline = _fit(inside, width, height)
    return outline, outline


def _fit(mask: _Mask, width: int, height: int) -> _Mask:
    """Stretch a mask, by repeating rows and columns, until its pixels touch all four sides."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if len(rows) == height and len(columns) == width:
        return mask
    pick_rows = rows[np.arange(height) * len(rows) // height]
    pick_columns = columns[np.arange(width) * len(columns) // width]
    return mask[pick_rows[:, None], pick_columns]


# ------------------------------------------------------------------------------------------------ paint


def _paint(options: ShapesOptions, scene: _Scene) -> NDArray[np.uint8]:
    """Render a scene to uint8[H, W, 3]."""
    rng = np.random.default_rng(scene.paint_seed)
    extent = options.image_size
    canvas = _ground(extent, rng)  # [3, H, W]
    for _ in range(int(rng.integers(3, 9))):
        _stroke(canvas, rng)
    for item in scene.drawn:
        height, width = item.mask.shape
        window = canvas[:, item.y : item.y + height, item.x : item.x + width]
        shade = np.arange(width, dtype=np.float32) * np.float32(rng.uniform(-28, 28) / width)
        colour = _contrasting(window.mean((1, 2)), rng)
        np.copyto(window, colour[:, None, None] + (shade - shade.mean()), where=item.mask)
    grain = rng.standard_normal((extent, extent), np.float32)
    grain *= np.float32(rng.uniform(5, 14))
    canvas += grain
    np.clip(canvas, 0, 255, out=canvas)
    return np.ascontiguousarray(canvas.astype(np.uint8).transpose(1, 2, 0))


def _ground(extent: int, rng: np.random.Generator) -> _Floats:
    """Mix smooth colour noise at two scales; float32[3, H, W] around a random colour."""
    canvas: _Floats = np.empty((3, extent, extent), np.float32)
    canvas[:] = rng.uniform(50, 205, (3, 1, 1))
    for cells, strength in ((int(rng.integers(3, 6)), 22.0), (int(rng.integers(10, 24)), 12.0)):
        weights = _interpolation(extent, cells)  # [extent, cells]
        nodes = rng.standard_normal((3, cells, cells), np.float32) * np.float32(strength)
        nodes = 0.6 * nodes + 0.6 * nodes.mean(0)
        canvas += weights @ nodes @ weights.T
    return canvas


def _interpolation(extent: int, cells: int) -> _Floats:
    """Linear interpolation from ``cells`` nodes to ``extent`` pixels as float32[extent, cells]."""
    at = np.linspace(0, cells - 1, extent, dtype=np.float32)[:, None]
    weights: _Floats = np.maximum(0, 1 - np.abs(at - np.arange(cells, dtype=np.float32)))
    return weights


def _stroke(canvas: _Floats, rng: np.random.Generator) -> None:
    """Paint a distractor in place: a stroke, or a cross of two."""
    extent = canvas.shape[1]
    reach = int(rng.integers(4, max(5, min(28, extent // 4))))
    centre_x, centre_y = rng.integers(reach, extent - reach, 2)
    window = canvas[:, centre_y - reach : centre_y + reach, centre_x - reach : centre_x + reach]
    axis = np.arange(-reach, reach, dtype=np.float32) + np.float32(0.5)
    angle = rng.uniform(0, math.pi)
    along = axis * math.cos(angle) + axis[:, None] * math.sin(angle)
    across = axis[:, None] * math.cos(angle) - axis * math.sin(angle)
    across += along**2 * (rng.uniform(-0.5, 0.5) / reach)  # bends the stroke
    half = rng.uniform(0.6, max(0.8, reach / 6))
    mask = (np.abs(across) < half) & (np.abs(along) < reach)
    if rng.random() < 0.4:
        mask |= (np.abs(along) < half) & (np.abs(across) < reach)
    colour = _contrasting(window.mean((1, 2)), rng)
    np.copyto(window, colour[:, None, None], where=mask)


def _contrasting(ground: _Floats, rng: np.random.Generator) -> _Floats:
    """Choose a colour whose distance to the ground's is visible but varies."""
    colours = rng.uniform(10, 245, (16, 3)).astype(np.float32)
    distance = np.sqrt(((colours - ground) ** 2).sum(1))
    error = np.abs(distance - rng.uniform(60, 170)) + 1000 * (distance < 55)
    colour: _Floats = colours[np.argmin(error)]
    return colour
