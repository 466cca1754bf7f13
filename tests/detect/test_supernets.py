"""Weights that parts of a start share: what a step trains, what a part scores, which statistics its norms have."""

from itertools import islice

import pytest
import torch

from spnas_core import Architecture, backbone_cost
from spnas_core.errors import ConfigError
from spnas_core.morphisms import identity
from spnas_core.networks import Backbone
from spnas_core.space import SearchSpace
from spnas_core.supernets import Parts, Supernet, part_of
from spnas_core.tasks import EvaluationRequest, Fidelity, SharedTraining
from spnas_detect.detectors import DetectorSettings, build_detector
from spnas_detect.detectors.loading import load_detector
from spnas_detect.metrics import metric_factory
from spnas_detect.necks import FPN
from spnas_detect.preparation import make_repeatable, train_loader
from spnas_detect.settings import DetectionSettings
from spnas_detect.supernets import Paths, check_paths, recalibrate
from spnas_detect.supernets.paths import path_neck
from spnas_detect.task import DetectionTask
from spnas_detect.training import Trainer, load_weights, score

START = Architecture.parse("b@8_11-211-21")
SPACE = SearchSpace(min_blocks=4, min_stages=3)
PART = Architecture.parse("b@8_1-121-2")
SHARING = SharedTraining(SPACE)
CPU = torch.device("cpu")
DATA = {"image_size": 64, "train": 24, "validation": 12, "test": 10, "max_size": 32, "min_size": 12}
TRAINING = {"batch_size": 4, "learning_rate": 0.003, "warmup_steps": 2}


def made(cache, **changes):
    values = {"image_size": (64, 64), "data_options": DATA, "training": TRAINING, "recalibration_batches": 5, **changes}
    task = DetectionTask(DetectionSettings.model_validate(values))
    task.prepare(cache, lambda *_: None)
    return task


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    return made(tmp_path_factory.mktemp("cache"))


def ask(rewrite, *, epochs=0, seed=3, parent=None, weights=None, sharing=None):
    return EvaluationRequest(0, rewrite, parent, weights, Fidelity(epochs), seed, sharing=sharing)


@pytest.fixture(scope="module")
def trained(task, tmp_path_factory):
    """A supernet's file, and what came of it."""
    file = tmp_path_factory.mktemp("supernet") / "start.safetensors"
    return file, task.evaluate(ask(identity(START), epochs=3, weights=file, sharing=SHARING), lambda _: None)


def classes_of(task):
    return len(task._data(task.settings).classes)


def detector_of(task, tensors, seed=0):
    settings = task.settings.detector
    generator = torch.Generator().manual_seed(seed)
    return build_detector(identity(START), classes_of(task), settings, tensors, generator=generator, shares=True)[0]


def loader_of(task, seed=3):
    return train_loader(task.settings.training, task._data(task.settings), seed=seed, epochs=0, device=CPU)


def test_a_child_without_training_scores_what_the_part_scores_inside_the_supernet(task, trained):
    file, _ = trained
    for code in (PART, START, *(Parts(START, SPACE).at_step(9, step) for step in range(2))):
        child = task.evaluate(ask(part_of(START, code), parent=file), lambda _: None)
        detector = detector_of(task, load_weights(file)).to(memory_format=torch.channels_last)
        Paths(detector, task.settings.detector).choose(code)
        recalibrate(detector, loader_of(task), 5, CPU)
        data = task._data(task.settings)
        metrics = [metric_factory("coco").build(data.classes)]
        inside = score(detector, data.split("validation"), metrics, batch_size=4, device=CPU)
        assert child.metrics == pytest.approx(inside, abs=1e-6, nan_ok=True)
        assert child.receipt["new"] == 0
        assert child.receipt["copied"] == sum(p.numel() for p in detector.parameters()) or code != START
        assert child.cost == backbone_cost(code, 64, 64).as_dict()


def test_scores_of_parts_differ_and_a_start_with_shared_weights_costs_what_it_costs(task, trained):
    file, of_start = trained
    assert of_start.cost == backbone_cost(START, 64, 64).as_dict()
    assert of_start.receipt["parts_trained"] == len({Parts(START, SPACE).at_step(3, step) for step in range(18)})
    found = {
        str(task.evaluate(ask(part_of(START, Architecture.parse(code)), parent=file), lambda _: None).metrics)
        for code in ("b@8_1-12-2", "b@8_11-21-21", "b@8_112-1-21")
    }
    assert len(found) == 3


def test_the_file_of_a_supernet_is_the_start_for_whoever_loads_it(task, trained):
    file, of_start = trained
    detector, description = load_detector(file, "cpu")
    assert description.is_shared
    assert description.architecture == str(START)
    data = task._data(task.settings)
    metrics = [metric_factory("coco").build(data.classes)]
    scores = score(detector, data.split("validation"), metrics, batch_size=4, device=CPU)
    assert scores == pytest.approx(of_start.metrics, abs=1e-6, nan_ok=True)


def trainer_of(task, detector, seed=3):
    loader = loader_of(task, seed)
    return Trainer(detector, loader, task.settings.training, 0.01, 1, seed=seed)


def test_one_step_changes_the_tensors_of_the_drawn_part_alone(task):
    make_repeatable(deterministic=True, seed=0)
    detector = detector_of(task, {})
    trainer, paths = trainer_of(task, detector), Paths(detector, task.settings.detector)
    before = {name: tensor.clone() for name, tensor in detector.state_dict().items()}
    trainer.run(lambda _: None, before_step=lambda _: paths.choose(PART), after_step=lambda: True)
    paths.restore()
    after = detector.state_dict()
    assert list(after) == list(before)
    changed = {name for name in after if not torch.equal(after[name], before[name])}
    part = part_of(START, PART)
    child = build_detector(part, classes_of(task), task.settings.detector, before, generator=torch.Generator(), seed=0)[
        1
    ]
    inherited = {copy.source for copy in child.copies}
    assert not child.fills
    assert changed <= inherited
    assert inherited - changed <= {"backbone.stem.bn1.num_batches_tracked"}
    unused = {name for name in before if name.startswith(("backbone.blocks.4.", "backbone.blocks.6."))}
    assert unused
    assert not unused & changed


def test_a_lateral_follows_the_channels_that_a_stage_ends_with(task):
    detector = detector_of(task, {})
    paths = Paths(detector, task.settings.detector)
    whole = detector.neck
    paths.choose(Architecture.parse("b@8_112-11-2"))
    assert detector.neck.inner_blocks[0][0].weight is whole.inner_blocks[1][0].weight
    assert detector.neck.layer_blocks[0][0].weight is whole.layer_blocks[0][0].weight
    paths.restore()
    assert detector.neck is whole
    assert isinstance(detector.backbone, Supernet)


def test_norms_gather_the_statistics_of_the_batches_anew(task):
    make_repeatable(deterministic=True, seed=0)
    detector = detector_of(task, {})
    Paths(detector, task.settings.detector).choose(PART)
    seen: dict[str, list[torch.Tensor]] = {}
    norms = {
        name: layer for name, layer in detector.backbone.named_modules() if isinstance(layer, torch.nn.BatchNorm2d)
    }
    for name, layer in norms.items():
        with torch.no_grad():
            layer.running_mean.fill_(7)
            layer.num_batches_tracked.fill_(9)
        layer.register_forward_pre_hook(
            lambda _, inputs, name=name: seen.setdefault(name, []).append(inputs[0].clone())
        )
    weights = {name: parameter.clone() for name, parameter in detector.named_parameters()}
    assert recalibrate(detector, loader_of(task), 8, CPU) == len(norms)  # more than an epoch has
    assert len(norms) > 6
    for name, layer in norms.items():
        means = torch.stack([x.mean((0, 2, 3)) for x in seen[name]])
        variances = torch.stack([x.var((0, 2, 3)) for x in seen[name]])
        assert len(means) == 8
        assert torch.allclose(layer.running_mean, means.mean(0), atol=1e-5)
        assert torch.allclose(layer.running_var, variances.mean(0), rtol=1e-4)
        assert layer.momentum == 0.1
        assert not layer.training
    assert all(torch.equal(parameter, weights[name]) for name, parameter in detector.named_parameters())
    first = next(islice(loader_of(task).epoch(0), 1)).inputs()
    stem = detector.backbone.stem.conv1 if hasattr(detector.backbone.stem, "conv1") else None
    assert stem is None or torch.allclose(stem(first), seen["stem.bn1"][0], atol=1e-5)


def test_two_processes_and_a_resumed_one_draw_the_same_part():
    drawn = [[str(Parts(START, SPACE).at_step(5, step)) for step in range(12)] for _ in range(2)]
    assert drawn[0] == drawn[1]
    assert len(set(drawn[0])) > 6
    assert drawn[0] != [str(Parts(START, SPACE).at_step(6, step)) for step in range(12)]


def test_a_trained_child_goes_on_from_the_shared_weights(task, trained, tmp_path):
    file, _ = trained
    child = task.evaluate(ask(part_of(START, PART), epochs=1, parent=file, weights=tmp_path / "w"), lambda _: None)
    assert child.receipt["inherited_percent"] == 100
    _, description = load_detector(tmp_path / "w", "cpu")
    assert not description.is_shared


@pytest.mark.parametrize(
    ("norm", "neck"),
    [
        ("group", "fpn"),
        ("sync", "fpn"),
        ("frozen", "hrfpn"),
        ("batch", "pafpn"),
        ("sync", "bifpn"),
        ("batch", "nas-fpn"),
    ],
)
def test_every_norm_and_neck_can_be_shared(tmp_path_factory, tmp_path, norm, neck):
    detector = {"neck": neck, "neck_channels": 8, "head_channels": 16}
    training = {**TRAINING, "norm": norm, "batch_size": 8, "ema_decay": 0.9}
    task = made(tmp_path_factory.getbasetemp() / "shared-cache", detector=detector, training=training)
    file = tmp_path / "w"
    task.evaluate(ask(identity(START), epochs=1, weights=file, sharing=SHARING), lambda _: None)
    child = task.evaluate(ask(part_of(START, PART), parent=file), lambda _: None)
    assert child.receipt["new"] == 0


@pytest.mark.parametrize(
    ("start", "settings", "message"),
    [
        ("b@8_11-211-21", {"levels": ["s2", "s3"]}, "leave out s1"),
        ("b@8_11-21_1-0", {}, "has rows"),
        ("b@8_11-11-1", {"levels": ["s1", "s2"], "extra_levels": "stage-conv"}, "stage-conv"),
    ],
)
def test_detectors_that_cannot_be_shared_are_refused(start, settings, message):
    with pytest.raises(ConfigError, match=message) as caught:
        check_paths(DetectorSettings(**settings), Architecture.parse(start))
    assert "\n" not in str(caught.value)


def test_a_part_whose_stages_the_neck_cannot_read_is_refused(task):
    part, settings = part_of(START, Architecture.parse("b@8_1-1-2112")), DetectorSettings(levels=["s2", "s3"])
    with torch.device("meta"):
        neck = FPN(Backbone(START, ["s2", "s3"]).feature_info, 8)
    with pytest.raises(ConfigError, match=r"neck 'fpn' of b@8_11-211-21 has no inner_blocks.0.0.weight that fits"):
        path_neck(neck, part, Backbone(part.child, ["s2", "s3"]).feature_info, settings)


def test_levels_may_be_left_out_where_channels_are_the_same(task):
    check_paths(DetectorSettings(levels=["s2", "s3"]), Architecture.parse("b@8_11-11-21"))
    task.check_sharing(START)
