"""docs/interop.md: its blocks of Python do what the page says."""

import sys
from types import ModuleType, SimpleNamespace

import pytest
import torch
from interop_page import PAGE, block, run
from torch import nn

from spnas_core.encoding import Architecture
from spnas_core.morphisms import identity
from spnas_detect.detectors import DetectorDescription, DetectorSettings, build_detector
from spnas_detect.training.weights import save_weights


@pytest.fixture
def stand_in(monkeypatch):
    """Stand in for a module that cannot be installed: ``stand_in(name, **attributes)``."""

    def add(name, **attributes):
        parts = name.split(".")
        for count in range(1, len(parts) + 1):
            monkeypatch.setitem(sys.modules, ".".join(parts[:count]), ModuleType(".".join(parts[:count])))
        vars(sys.modules[name]).update(attributes)

    return add


class Registry(dict):
    """Takes classes and functions under their names, as both libraries' registries do."""

    def register(self):
        return lambda item: self.setdefault(item.__name__, item)

    register_module = register


def test_torchvisions_detector_detects():
    detector = run(block("FasterRCNN("))["detector"].eval()
    with torch.no_grad():
        assert set(detector([torch.rand(3, 64, 64)])[0]) == {"boxes", "labels", "scores"}


def test_a_trained_backbone_is_taken_out(tmp_path, monkeypatch):
    settings = DetectorSettings(neck_channels=8, head_channels=16)
    module, _, _ = build_detector(
        identity(Architecture.parse("b@8_1-21")), 1, settings, {}, generator=torch.Generator().manual_seed(1)
    )
    description = DetectorDescription("b@8_1-21", ("cat",), settings, (64, 64))
    save_weights(module, tmp_path / "weights.safetensors", {**description.metadata(), "norm": "batch"})
    monkeypatch.chdir(tmp_path)
    names = run(block('load_detector("weights.safetensors"'))
    assert names["backbone"].body is names["trained"].backbone
    assert torch.equal(names["trained"].backbone.state_dict()["stem.conv1.weight"], module.backbone.stem.conv1.weight)


def test_timms_features():
    run(block('TimmFeatures("r_111'))


def test_detectron2(stand_in):
    registry = Registry()
    stand_in("detectron2.modeling", BACKBONE_REGISTRY=registry, Backbone=nn.Module, ShapeSpec=SimpleNamespace)
    run(block("BACKBONE_REGISTRY"))
    network = registry["build_spnas_backbone"](None, None).eval()
    with torch.no_grad():
        features = network(torch.zeros(1, 3, 64, 64))
    for name, shape in network.output_shape().items():
        assert features[name].shape[1:] == (shape.channels, 64 // shape.stride, 64 // shape.stride)


def test_mmdetection(stand_in):
    registry = Registry()

    class BaseModule(nn.Module):
        def __init__(self, init_cfg):
            super().__init__()
            self.init_cfg = init_cfg

    stand_in("mmdet.registry", MODELS=registry)
    stand_in("mmengine.model", BaseModule=BaseModule)
    run(block("register_module"))
    configuration = run(block("neck = dict"))
    backbone = dict(configuration["backbone"])
    network = registry[backbone.pop("type")](**backbone).eval()
    with torch.no_grad():
        features = network(torch.zeros(1, 3, 64, 64))
    assert isinstance(features, tuple)
    assert [feature.shape[1] for feature in features] == configuration["neck"]["in_channels"]


def test_every_block_is_run_here():
    assert PAGE.count("```python\n") == 7
