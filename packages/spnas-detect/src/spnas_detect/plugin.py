"""What spnas-detect registers: data sets, necks, detectors, metrics, and the detection task."""

from spnas_core.hookspecs import Register, hookimpl


@hookimpl
def spnas_register_datasets(register: Register) -> None:
    """Generated shapes, Pascal VOC and COCO."""
    from spnas_detect.data import READERS

    for name, reader in READERS.items():
        register(name, reader)


@hookimpl
def spnas_register_necks(register: Register) -> None:
    """The feature pyramid network."""
    from spnas_detect.necks.fpn import FPN

    register("fpn", FPN)


@hookimpl
def spnas_register_detectors(register: Register) -> None:
    """Faster R-CNN."""
    from spnas_detect.detectors.faster_rcnn import FasterRCNN

    register("faster-rcnn", FasterRCNN)


@hookimpl
def spnas_register_metrics(register: Register) -> None:
    """COCO's average precisions and VOC's AP50."""
    from spnas_detect.metrics import METRICS

    for name, factory in METRICS.items():
        register(name, factory)


@hookimpl
def spnas_register_tasks(register: Register) -> None:
    """The detection task."""
    from spnas_core.tasks import TaskPlugin
    from spnas_detect.settings import DetectionSettings
    from spnas_detect.task import DetectionTask

    register("detection", TaskPlugin("train and score object detectors", DetectionSettings, DetectionTask))
