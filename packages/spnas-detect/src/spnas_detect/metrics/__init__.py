"""Detection metrics: the contract, COCO's and Pascal VOC's average precision, EuroCity Persons' miss rate."""

from spnas_detect.metrics._base import Metric, MetricFactory, Values
from spnas_detect.metrics.coco import CocoMetric
from spnas_detect.metrics.lamr import LamrMetric
from spnas_detect.metrics.registry import METRICS, check_metrics, metric_factory
from spnas_detect.metrics.voc import VocMetric

__all__ = [
    "METRICS",
    "CocoMetric",
    "LamrMetric",
    "Metric",
    "MetricFactory",
    "Values",
    "VocMetric",
    "check_metrics",
    "metric_factory",
]
