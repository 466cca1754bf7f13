"""Biases of a narrow pyramid that begin by taking away what their layers put out on average."""

import copy

import pytest
import torch
from torch import nn

from spnas_core import Architecture
from spnas_core.errors import EvaluationError
from spnas_core.morphisms import Expand, identity
from spnas_core.tasks import EvaluationRequest, Fidelity
from spnas_detect.data import build_cache, open_data
from spnas_detect.detectors import DetectorSettings, build_detector
from spnas_detect.detectors.loading import load_detector
from spnas_detect.detectors.pyramid import levels_beyond, pyramid
from spnas_detect.settings import DetectionSettings
from spnas_detect.task import DetectionTask
from spnas_detect.training import TrainingSettings
from spnas_detect.training.calibration import centre_biases, first_images

START = Architecture.parse("b@4_1-2-2")
OPTIONS = {"train": 12, "validation": 4, "test": 4, "max_size": 32}
SETTINGS = TrainingSettings(batch_size=8)


@pytest.fixture(scope="module")
def split(tmp_path_factory):
    data = open_data("shapes", seed=0, image_size=64, **OPTIONS)
    return build_cache(data, tmp_path_factory.mktemp("cache"), image_size=(64, 64)).split("train")


def built(rewrite=None, parent=None, seed=0, **sizes):
    settings = DetectorSettings(**{"neck_channels": 8, "head_channels": 16, **sizes})
    generator = torch.Generator().manual_seed(seed)
    return build_detector(rewrite or identity(START), 3, settings, parent or {}, generator=generator)[:2]


def outputs(detector, images):
    """What the neck's convolutions put out in a first step, by name."""
    found, detector = {}, copy.deepcopy(detector).train()
    for name, layer in detector.neck.named_modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(lambda _layer, _input, output, name=name: found.update({name: output}))
    with torch.no_grad():
        pyramid(detector.backbone, detector.neck, images, levels_beyond(detector))
    return found


@pytest.mark.parametrize("extra_levels", [None, "stage-pool"])
@pytest.mark.parametrize("neck", ["fpn", "pafpn", "dpc"])
def test_new_convolutions_put_out_nothing_on_average_and_all_else_stays(split, neck, extra_levels):
    detector, plan = built(neck=neck, extra_levels=extra_levels)
    before = {name: tensor.clone() for name, tensor in detector.state_dict().items()}
    images = first_images(split, SETTINGS.batch_size, torch.device("cpu"))
    assert max(output.mean((0, 2, 3)).abs().max() for output in outputs(detector, images).values()) > 0.3
    detector.eval()
    centre_biases(detector, plan, SETTINGS, split)
    assert not detector.training
    changed = {name for name, tensor in detector.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed == {f"neck.{name}" for name in detector.neck.state_dict() if "_blocks." in name and "bias" in name}
    for name, output in outputs(detector, images).items():
        if "_blocks." in name:
            assert output.mean((0, 2, 3)).abs().max() < 1e-5, name


def test_a_step_in_parts_is_centred_on_as_many_images_as_are_computed_at_a_time(split):
    detector, plan = built()
    centre_biases(detector, plan, TrainingSettings(batch_size=8, accumulate=4), split)
    few = first_images(split, 2, torch.device("cpu"))
    assert all(output.mean((0, 2, 3)).abs().max() < 1e-5 for output in outputs(detector, few).values())


@pytest.mark.parametrize("sizes", [{"neck_channels": 256}, {"neck": "bifpn"}, {"neck": "hrfpn"}])
def test_pyramids_of_published_width_and_other_necks_are_left_alone(split, sizes):
    detector, plan = built(**sizes)
    before = {name: tensor.clone() for name, tensor in detector.state_dict().items()}
    centre_biases(detector, plan, SETTINGS, split)
    assert all(torch.equal(tensor, before[name]) for name, tensor in detector.state_dict().items())


def test_what_is_inherited_is_left_alone(split):
    parent, _ = built(seed=1)
    weights = parent.state_dict()
    for rewrite in (identity(START), Expand().options(START)[0]):
        child, plan = built(rewrite, weights)
        before = {name: tensor.clone() for name, tensor in child.state_dict().items()}
        centre_biases(child, plan, SETTINGS, split)
        assert all(torch.equal(tensor, before[name]) for name, tensor in child.state_dict().items())
    wider, plan = built(parent=weights, neck_channels=12)  # biases of 12 channels, of which 8 are inherited
    before = {name: tensor.clone() for name, tensor in wider.state_dict().items()}
    centre_biases(wider, plan, SETTINGS, split)
    assert all(torch.equal(tensor, before[name]) for name, tensor in wider.state_dict().items())


def test_images_of_one_pixel_are_refused_as_in_a_training(tmp_path):
    data = open_data("shapes", seed=0, image_size=64, **OPTIONS)
    split = build_cache(data, tmp_path, image_size=(32, 32)).split("train")
    rewrite = identity(Architecture.parse("b@4_1-2-2-2"))
    detector, plan = built(rewrite)
    with pytest.raises(EvaluationError, match="leave a batch norm one value per channel"):
        centre_biases(detector, plan, TrainingSettings(batch_size=1), split)


def test_evaluations_and_trainings_begin_centred(tmp_path):
    settings = DetectionSettings(
        image_size=(64, 64), data_options=OPTIONS, detector={"neck_channels": 8, "head_channels": 16}, device="cpu"
    )
    task, file = DetectionTask(settings), tmp_path / "w.safetensors"
    task.prepare(tmp_path / "cache", lambda *_: None)
    task.evaluate(EvaluationRequest(0, identity(START), None, file, Fidelity(0), 3), lambda *_: None)
    detector, _ = load_detector(file, torch.device("cpu"))
    (cache,) = (tmp_path / "cache").glob("shapes-*")
    from spnas_detect.data import open_cache

    images = first_images(open_cache(cache).split("train"), settings.training.batch_size, torch.device("cpu"))
    for name, output in outputs(detector, images).items():
        assert output.mean((0, 2, 3)).abs().max() < 1e-4, name
