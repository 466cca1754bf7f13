"""What a weights file remembers of the training that made it: its data, which images these were, how it was scored."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from spnas_core.errors import MALFORMED, WeightsError
from spnas_core.interchange.initial_weights import DESCRIPTION
from spnas_detect.data.seen import SeenImages

KEY = "trained_on"
"""Key of a weights file's description."""


@dataclass(frozen=True)
class TrainedOn:
    """The training behind a weights file; whatever the weights began with has its images among them.

    Attributes:
        data: spec of the data set, such as ``voc:/data/bccd``.
        data_seed: of carved splits and generated images.
        data_options: of the kind of data.
        split: that was learnt from.
        images: of that split, and those that inherited weights were trained on.
        metrics: that the training was scored by.
        precision: of its forward passes, ``float32`` or ``bfloat16``.
    """

    data: str
    data_seed: int = 0
    data_options: Mapping[str, Any] = field(default_factory=dict, hash=False)
    split: str = "train"
    images: SeenImages = field(default_factory=SeenImages)
    metrics: tuple[str, ...] = ()
    precision: str = "float32"

    def metadata(self) -> dict[str, object]:
        """Return plain values; ``from_metadata`` is the inverse."""
        return {
            "data": self.data,
            "data_seed": self.data_seed,
            "data_options": dict(self.data_options),
            "split": self.split,
            "images": self.images.text(),
            "metrics": list(self.metrics),
            "precision": self.precision,
        }

    @classmethod
    def from_metadata(cls, stored: Any, source: str) -> "TrainedOn":
        """Read and check plain values.

        Args:
            stored: as ``metadata`` writes them.
            source: what messages call the file.

        Raises:
            WeightsError: something is missing or makes no sense.
        """
        try:
            data, options, precision = stored["data"], stored["data_options"], stored["precision"]
            images, metrics = SeenImages.from_text(stored["images"]), tuple(map(str, stored["metrics"]))
            seed, split = int(stored["data_seed"]), str(stored["split"])
        except MALFORMED as error:
            reason = f"no {error}" if isinstance(error, KeyError) else str(error)
            raise WeightsError(f"what {source} says of its training data cannot be read: {reason}") from None
        if not isinstance(data, str) or not isinstance(options, dict) or precision not in {"float32", "bfloat16"}:
            raise WeightsError(
                f"{source} says that it was trained on data {data!r}, with options {options!r} and precision "
                f"{precision!r}: that makes no sense"
            )
        return cls(data, seed, options, split, images, metrics, precision)


def seen_images(file: Path | str | None) -> SeenImages:
    """Return the images that the weights of a file were trained on; none for a file that does not say, or is none."""
    if file is None or not Path(file).is_file():
        return SeenImages()
    try:
        with safe_open(file, framework="pt") as opened:
            said = json.loads((opened.metadata() or {}).get(DESCRIPTION, "{}"))
        return TrainedOn.from_metadata(said[KEY], str(file)).images
    except (SafetensorError, OSError, *MALFORMED):  # a WeightsError is a ValueError
        return SeenImages()
