"""Metrics by name."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from spnas_core.plugins import registry
from spnas_core.tasks import MetricSpec
from spnas_detect.metrics._base import Metric
from spnas_detect.metrics.coco import CocoMetric
from spnas_detect.metrics.voc import VocMetric


@dataclass(frozen=True)
class MetricFactory:
    """A metric as the plugins register it.

    Attributes:
        specs: the main numbers that it gives; the first one is what a search maximises by default.
        build: makes the metric from the class names.
    """

    specs: tuple[MetricSpec, ...]
    build: Callable[[Sequence[str]], Metric]


METRICS = {
    "coco": MetricFactory(tuple(MetricSpec(name) for name in ("AP", "AP50", "AP75", "APs", "APm", "APl")), CocoMetric),
    "voc": MetricFactory((MetricSpec("VOC50"),), VocMetric),
    "voc-11": MetricFactory((MetricSpec("VOC50-11"),), partial(VocMetric, use_11_points=True)),
}
"""The metrics that come with this package."""


def metric_factory(name: str) -> MetricFactory:
    """Look up a registered metric.

    Raises:
        PluginError: no plugin registers the name.
    """
    factory: MetricFactory = registry("metrics").get(name)
    return factory
