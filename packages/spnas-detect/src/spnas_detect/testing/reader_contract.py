"""What every reader of data must keep, as a suite to run over one's own.

With pytest, subclass it in a test file:

    from spnas_detect.testing import ReaderContract

    class TestMine(ReaderContract):
        reader = staticmethod(read_mine)

        def write(self, folder):
            ...  # a small data set below the folder
            return str(folder)
"""

import pickle
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from spnas_core.errors import DataError
from spnas_detect.data import DetectionData, ImageRecord, Reader
from spnas_detect.data._base import SPLITS
from spnas_detect.data.contract import record_mistake

UNKNOWN = "no_such_option"


class ReaderContract:
    """A reader gives three splits of well-formed records, always the same, and refuses what it does not know.

    Attributes:
        reader: that is tested.
        options: of the data, for the suite.
    """

    reader: Reader
    options: Mapping[str, Any] = {}

    def write(self, folder: Path) -> str | None:
        """Write a small data set, two training images at least, and return its path; None for generated data.

        Raises:
            NotImplementedError: the subclass does not say.
        """
        raise NotImplementedError  # the one thing that a suite cannot know of the reader that it is run over

    def test_there_are_three_splits_and_names_tell_images_apart(self) -> None:
        """Within a split; folders of different splits may have files of one name."""
        with self._read() as data:
            assert tuple(data.splits) == SPLITS
            assert all(len(data.splits[split]) for split in SPLITS), "an empty split is carved from the training images"
            for records in data.splits.values():
                assert len({record.name for record in records}) == len(records)
            assert data.faults == ()

    def test_classes_have_different_names(self) -> None:
        """And there is one."""
        with self._read() as data:
            assert data.classes
            assert all(name.strip() for name in data.classes)
            assert len(set(data.classes)) == len(data.classes)

    def test_boxes_lie_inside_their_images(self) -> None:
        """With an area, a label in 1…C, and a flag each."""
        with self._read() as data:
            assert sum(len(record.boxes) for record in _records(data)), "the data set of the suite has no box"
            for record in _records(data):
                mistake = record_mistake(record, len(data.classes))
                assert mistake is None, f"image {record.name} {mistake}"

    def test_pixels_are_as_large_as_annotated_and_always_the_same(self) -> None:
        """RGB, eight bit."""
        with self._read() as data:
            for record in _records(data):
                pixels = record.read()
                assert pixels.dtype == np.uint8, record.name
                assert pixels.shape == (record.height, record.width, 3), record.name
                assert np.array_equal(record.read(), pixels)

    def test_the_same_path_and_seed_give_the_same_data(self) -> None:
        """Also in the copy that a worker process gets."""
        with tempfile.TemporaryDirectory() as name:
            path = self.write(Path(name))
            first, again = self._open(path), self._open(path)
            copy: DetectionData = pickle.loads(pickle.dumps(first))  # noqa: S301 - our own
            assert first.fingerprint == again.fingerprint == copy.fingerprint
            for other in (again, copy):
                assert (other.classes, other.notes) == (first.classes, first.notes)
                for one, same in zip(_records(first), _records(other), strict=True):
                    assert one.name == same.name
                    assert np.array_equal(one.boxes, same.boxes)
                    assert np.array_equal(one.labels, same.labels)
                    assert np.array_equal(one.ignore, same.ignore)
                    assert one.tags == same.tags

    def test_unknown_options_are_refused(self) -> None:
        """By name."""
        with tempfile.TemporaryDirectory() as name:
            message = _refusal(lambda: self._open(self.write(Path(name)), **{UNKNOWN: 1}))
            assert UNKNOWN in message, f"the option {UNKNOWN!r} is not named: {message}"

    def test_a_missing_path_is_refused(self) -> None:
        """By name; generated data refuses every path."""
        with tempfile.TemporaryDirectory() as name:
            path = str(Path(name) / "nowhere")
            message = _refusal(lambda: self._open(path))
            assert path in message, f"the path {path} is not named: {message}"

    def _open(self, path: str | None, **options: Any) -> DetectionData:
        return type(self).reader(path, seed=3, options={**self.options, **options})

    @contextmanager
    def _read(self) -> Iterator[DetectionData]:
        with tempfile.TemporaryDirectory() as name:
            yield self._open(self.write(Path(name)))


def _records(data: DetectionData) -> Iterator[ImageRecord]:
    return chain.from_iterable(data.splits[split] for split in SPLITS)


def _refusal(opened: Any) -> str:
    """Return what a refusal says; an assertion fails where there is none."""
    try:
        opened()
    except DataError as error:
        return str(error)
    raise AssertionError("it was read all the same, and a DataError was expected")
