"""For those who write readers of data, metrics, necks or detectors: what every one of them must keep."""

from spnas_detect.testing.detector_contract import DetectorContract
from spnas_detect.testing.metric_contract import MetricContract
from spnas_detect.testing.neck_contract import NeckContract
from spnas_detect.testing.reader_contract import ReaderContract

__all__ = ["DetectorContract", "MetricContract", "NeckContract", "ReaderContract"]
