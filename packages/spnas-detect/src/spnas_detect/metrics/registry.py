"""Metrics by name."""

from collections.abc import Iterable
from functools import partial

from spnas_core.plugins import is_built_in, registry
from spnas_core.tasks import MetricSpec
from spnas_detect.data._base import DetectionData
from spnas_detect.metrics._base import MetricFactory
from spnas_detect.metrics.coco import COCO_NAMES, CocoMetric
from spnas_detect.metrics.held import held_factory
from spnas_detect.metrics.lamr import LAMR_SPECS, LamrMetric, check_lamr_data
from spnas_detect.metrics.voc import VocMetric

METRICS = {
    "coco": MetricFactory(
        "COCO's twelve numbers, by hotcoco",
        tuple(MetricSpec(name) for name in COCO_NAMES),
        CocoMetric,
    ),
    "voc": MetricFactory("Pascal VOC's AP50, area under the curve", (MetricSpec("VOC50"),), VocMetric),
    "voc-11": MetricFactory(
        "Pascal VOC 2007's AP50 at 11 points", (MetricSpec("VOC50-11"),), partial(VocMetric, use_11_points=True)
    ),
    "lamr": MetricFactory("EuroCity Persons' log-average miss rates", LAMR_SPECS, LamrMetric, check_lamr_data),
}
"""The metrics that come with this package."""


def metric_factory(name: str) -> MetricFactory:
    """Look up a registered metric; a plugin's is held to its contract.

    Raises:
        PluginError: no plugin registers the name, or its specs are none.
    """
    factory: MetricFactory = registry("metrics").get(name)
    return factory if is_built_in("metrics", name) else held_factory(name, factory)


def check_metrics(names: Iterable[str], data: DetectionData) -> None:
    """Refuse a data set that one of the metrics cannot score, before anything is trained.

    Raises:
        PluginError: no plugin registers a name.
        ConfigError: says which metric needs what.
    """
    for name in names:
        metric_factory(name).check(data)
