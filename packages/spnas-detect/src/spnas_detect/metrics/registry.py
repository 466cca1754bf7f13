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
        summary: one line for listings.
        specs: the main numbers that it gives; the first one is what a search maximises by default.
        build: makes the metric from the class names.
    """

    summary: str
    specs: tuple[MetricSpec, ...]
    build: Callable[[Sequence[str]], Metric]


METRICS = {
    "coco": MetricFactory(
        "COCO average precisions, by pycocotools",
        tuple(MetricSpec(name) for name in ("AP", "AP50", "AP75", "APs", "APm", "APl")),
        CocoMetric,
    ),
    "voc": MetricFactory("Pascal VOC's AP50, area under the curve", (MetricSpec("VOC50"),), VocMetric),
    "voc-11": MetricFactory(
        "Pascal VOC 2007's AP50 at 11 points", (MetricSpec("VOC50-11"),), partial(VocMetric, use_11_points=True)
    ),
}
"""The metrics that come with this package."""


def metric_factory(name: str) -> MetricFactory:
    """Look up a registered metric.

    Raises:
        PluginError: no plugin registers the name.
    """
    factory: MetricFactory = registry("metrics").get(name)
    return factory
