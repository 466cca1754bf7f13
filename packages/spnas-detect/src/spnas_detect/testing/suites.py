"""The suites of this package over an item that was registered, for ``spnas plugins check``."""

from pathlib import Path

from spnas_core.errors import ConfigError
from spnas_core.testing import NoSuiteError
from spnas_detect.data import DetectionData, Reader
from spnas_detect.detectors import DetectorFactory
from spnas_detect.metrics import MetricFactory
from spnas_detect.necks import NeckFactory
from spnas_detect.testing.detector_contract import DetectorContract
from spnas_detect.testing.metric_contract import MetricContract
from spnas_detect.testing.neck_contract import NeckContract
from spnas_detect.testing.reader_contract import ReaderContract

EXAMPLE = "write_example"
"""Attribute of a reader: called with a folder, it writes a small data set there and returns its path, or None."""


class _Registered(ReaderContract):
    """The suite over a reader that brings an example."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def write(self, folder: Path) -> str | None:
        """Have the reader's own example written."""
        path: str | Path | None = getattr(self._reader, EXAMPLE)(folder)
        return None if path is None else str(path)

    def _open(self, path: str | None, **options: object) -> DetectionData:
        return self._reader(path, seed=3, options=options)


def reader_suite(name: str, item: Reader) -> ReaderContract:
    """Return the suite over a reader.

    Raises:
        NoSuiteError: it has no example of what it reads.
    """
    if not hasattr(item, EXAMPLE):
        raise NoSuiteError(
            f"the reader {name!r} has no function {EXAMPLE}(folder): give it one, or subclass "
            "spnas_detect.testing.ReaderContract"
        )
    return _Registered(item)


def neck_suite(name: str, item: NeckFactory) -> NeckContract:
    """Return the suite over a neck, or over the default of a family."""
    del name
    suite: NeckContract = type("RegisteredNeck", (NeckContract,), {"factory": staticmethod(item)})()
    return suite


def detector_suite(name: str, item: DetectorFactory) -> DetectorContract:
    """Return the suite over a detector."""
    del name
    suite: DetectorContract = type("RegisteredDetector", (DetectorContract,), {"factory": staticmethod(item)})()
    return suite


def metric_suite(name: str, item: MetricFactory) -> MetricContract:
    """Return the suite over a metric.

    Raises:
        NoSuiteError: it does not score classes of any names.
    """
    suite = MetricContract()
    suite.factory = item
    try:
        item.build(suite.classes)
    except ConfigError as error:
        raise NoSuiteError(
            f"the metric {name!r} refuses the classes {', '.join(suite.classes)} ({error}): subclass "
            "spnas_detect.testing.MetricContract, and give it others"
        ) from error
    return suite
