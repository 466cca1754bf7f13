"""What spnas-detect registers: data sets, necks, detectors, metrics, the detection task, and its commands."""

from spnas_core.hookspecs import Register, hookimpl


@hookimpl
def spnas_register_datasets(register: Register) -> None:
    """Generated shapes, Pascal VOC, COCO, EuroCity Persons, YOLO, and folders of whichever layout."""
    from spnas_detect.data import READERS

    for name, reader in READERS.items():
        register(name, reader)


@hookimpl
def spnas_register_necks(register: Register) -> None:
    """The feature pyramid network, and those of PANet, EfficientDet and NAS-FPN."""
    from spnas_detect.necks import FPN, NASFPN, PAFPN, BiFPN

    register("fpn", FPN)
    register("pafpn", PAFPN)
    register("bifpn", BiFPN)
    register("nas-fpn", NASFPN)


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

    register("detection", TaskPlugin("train and score object detectors", DetectionSettings, DetectionTask, suited))


@hookimpl
def spnas_register_presets(register: Register) -> None:
    """The demonstration, small photographs, and published recipes."""
    from spnas_core.presets import presets_in

    for name, preset in presets_in("spnas_detect"):
        register(name, preset)


@hookimpl
def spnas_register_commands(register: Register) -> None:
    """Train, compare, evaluate, predict, and look at data."""
    from spnas_detect.commands.compare import compare
    from spnas_detect.commands.data import data_group
    from spnas_detect.commands.evaluate import evaluate
    from spnas_detect.commands.predict import predict
    from spnas_detect.commands.train import train_command

    register("train", train_command)
    register("compare", compare)
    register("evaluate", evaluate)
    register("predict", predict)
    register("data", data_group)
