"""What spnas-detect registers: data sets, necks, detectors, metrics, the detection task, and its commands."""

from typing import TYPE_CHECKING

from spnas_core.hookspecs import Register, hookimpl

if TYPE_CHECKING:
    from spnas_core.pages import Report


@hookimpl
def spnas_register_datasets(register: Register) -> None:
    """Generated shapes, Pascal VOC, COCO, EuroCity Persons, YOLO, and folders of whichever layout."""
    from spnas_detect.data import READERS

    for name, reader in READERS.items():
        register(name, reader)


@hookimpl
def spnas_register_backbones(register: Register) -> None:
    """Networks of timm and torchvision, and those that no library has."""
    from spnas_detect.backbones.tables.detnas import DETNAS
    from spnas_detect.backbones.tables.detnet import DETNET
    from spnas_detect.backbones.tables.fishnet import FISHNET
    from spnas_detect.backbones.tables.proxylessnas import PROXYLESSNAS
    from spnas_detect.backbones.timm import TIMM
    from spnas_detect.backbones.torchvision import TORCHVISION

    register("timm", TIMM)
    register("torchvision", TORCHVISION)
    register("proxylessnas", PROXYLESSNAS)
    register("detnas", DETNAS)
    register("detnet", DETNET)
    register("fishnet", FISHNET)


@hookimpl
def spnas_register_necks(register: Register) -> None:
    """The feature pyramid network, those of PANet, EfficientDet, NAS-FPN and HRNet, and cells as texts."""
    from spnas_detect.necks import DENSE_NECKS, FPN, HRFPN, MERGE, NASFPN, PAFPN, BiFPN

    register("fpn", FPN)
    register("pafpn", PAFPN)
    register("bifpn", BiFPN)
    register("nas-fpn", NASFPN)
    register("hrfpn", HRFPN)
    register("merge", MERGE)
    register("dpc", DENSE_NECKS)


@hookimpl
def spnas_register_morphisms(register: Register) -> None:
    """Changes of the neck that a code names."""
    from spnas_detect.necks.rewiring import Rewire

    register("rewire", Rewire())


@hookimpl
def spnas_register_detectors(register: Register) -> None:
    """Faster R-CNN, Cascade R-CNN and RetinaNet."""
    from spnas_detect.detectors.cascade_rcnn import CascadeRCNN
    from spnas_detect.detectors.faster_rcnn import FasterRCNN
    from spnas_detect.detectors.retinanet import RetinaNet

    register("faster-rcnn", FasterRCNN)
    register("cascade-rcnn", CascadeRCNN)
    register("retinanet", RetinaNet)


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
    from spnas_detect.suiting import suited
    from spnas_detect.task import DetectionTask

    few = {"image_size": 64, "max_size": 32, "train": 12, "validation": 6, "test": 2}
    register(
        "detection",
        TaskPlugin(
            "train and score object detectors",
            DetectionSettings,
            DetectionTask,
            suited,
            {"data_options": few, "image_size": [64, 64]},
        ),
    )


@hookimpl
def spnas_register_presets(register: Register) -> None:
    """The demonstration, small photographs, and published recipes."""
    from spnas_core.presets import presets_in

    for name, preset in presets_in("spnas_detect"):
        register(name, preset)


@hookimpl
def spnas_register_contracts(register: Register) -> None:
    """The suites of readers of data, necks, detectors and metrics."""
    from spnas_detect.testing.suites import detector_suite, metric_suite, neck_suite, reader_suite

    register("datasets", reader_suite)
    register("necks", neck_suite)
    register("detectors", detector_suite)
    register("metrics", metric_suite)


@hookimpl
def spnas_register_commands(register: Register) -> None:
    """Train, compare, evaluate, predict, and look at data."""
    from spnas_core.commands.lazy import LazyCommand

    for name, target, summary in (
        ("train", "train:train_command", "Train a detector on the backbone CODE, or on a candidate of a search."),
        ("compare", "compare:compare", "Train architectures alike, several seeds each, and compare their scores."),
        ("evaluate", "evaluate:evaluate", "Score a detector on a split of a data set."),
        ("predict", "predict:predict", "Detect objects in each IMAGE and draw them, with their class and score."),
        ("export", "export:export", "Write a network for other frameworks: ONNX, torch.export, or plain source."),
        ("data", "data:data_group", "Look at data sets, and write them in other layouts."),
    ):
        register(name, LazyCommand(name, f"spnas_detect.commands.{target}", summary))


@hookimpl
def spnas_report(reference: str) -> "Report | None":
    """The report of a training, or of a comparison."""
    from spnas_detect.reporting import report_comparison, report_training

    return report_training(reference) or report_comparison(reference)
