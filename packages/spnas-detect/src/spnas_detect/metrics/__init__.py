"""Detection metrics: the contract, COCO's and Pascal VOC's average precision."""

from spnas_detect.metrics._base import Metric
from spnas_detect.metrics.coco import CocoMetric
from spnas_detect.metrics.registry import METRICS, MetricFactory, metric_factory
from spnas_detect.metrics.voc import VocMetric

__all__ = ["METRICS", "CocoMetric", "Metric", "MetricFactory", "VocMetric", "metric_factory"]
