"""Detectors come back from their files, and other files are refused."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

import spnas_detect
from spnas_core import Architecture
from spnas_core.errors import ConfigError, WeightsError
from spnas_core.morphisms import identity
from spnas_detect.detectors import DetectorDescription, DetectorSettings, build_detector
from spnas_detect.training.norms import convert_norms
from spnas_detect.training.weights import save_weights

SETTINGS = DetectorSettings(neck_channels=8, head_channels=16, rpn_proposals=20, pooled_size=3)
DESCRIPTION = DetectorDescription("b@4_1-2-2", ("cat", "dog"), SETTINGS, (64, 64))


def saved(path, norm="batch", description=DESCRIPTION):
    """Write a detector's file; return the detector."""
    architecture = identity(Architecture.parse(description.architecture))
    generator = torch.Generator().manual_seed(1)
    module, _, _ = build_detector(architecture, len(description.classes), SETTINGS, {}, generator=generator)
    for name, buffer in module.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_(generator=generator)
    convert_norms(module, norm)
    save_weights(module, path, {**description.metadata(), "norm": norm})
    return module.eval()


@pytest.mark.parametrize("norm", ["batch", "sync", "group", "frozen"])
@torch.no_grad()
def test_a_detector_comes_back_as_it_was_saved(tmp_path, norm):
    module = saved(tmp_path / "file", norm)
    loaded, description = spnas_detect.load_detector(tmp_path / "file", "cpu")
    assert description.norm == norm
    assert not loaded.training
    assert loaded.state_dict().keys() == module.state_dict().keys()
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    module.to(memory_format=torch.channels_last)
    for one, other in zip(loaded.detect(images), module.detect(images), strict=True):
        assert torch.equal(one, other)


def test_half_precision_files_load_in_full_precision(tmp_path):
    module = saved(tmp_path / "file")
    metadata = {"spnas": json.dumps(DESCRIPTION.metadata())}
    halves = {n: t.half() if t.is_floating_point() else t for n, t in load_file(tmp_path / "file").items()}
    save_file(halves, tmp_path / "half", metadata=metadata)
    loaded, _ = spnas_detect.load_detector(tmp_path / "half", "cpu")
    for name, tensor in loaded.state_dict().items():
        torch.testing.assert_close(tensor, module.state_dict()[name], rtol=1e-3, atol=1e-4)


def test_tensors_of_another_detector_are_named_five_at_most(tmp_path):
    saved(tmp_path / "file")
    tensors = load_file(tmp_path / "file")
    names = sorted(name for name in tensors if name.startswith("backbone.blocks.1"))
    del tensors[names[0]]
    tensors[names[1]] = torch.zeros(3)
    tensors["backbone.extra"] = torch.zeros(1)
    metadata = {"spnas": json.dumps(DESCRIPTION.metadata())}
    save_file(tensors, tmp_path / "other", metadata=metadata)
    with pytest.raises(WeightsError) as caught:
        spnas_detect.load_detector(tmp_path / "other", "cpu")
    message = str(caught.value)
    assert "3 tensors differ" in message
    assert f"{names[0]} (missing instead of" in message
    assert f"{names[1]} ((3,) instead of" in message
    assert "backbone.extra (not in this detector)" in message
    wrong = DetectorDescription("b@8_1-2-2", DESCRIPTION.classes, SETTINGS, (64, 64))
    save_file(load_file(tmp_path / "file"), tmp_path / "wrong", metadata={"spnas": json.dumps(wrong.metadata())})
    with pytest.raises(WeightsError, match=r"does not fit the faster-rcnn on b@8_1-2-2") as caught:
        spnas_detect.load_detector(tmp_path / "wrong", "cpu")
    assert str(caught.value).count(" instead of ") == 5


def test_unknown_norms_and_devices_are_refused(tmp_path):
    saved(tmp_path / "file")
    metadata = {"spnas": json.dumps({**DESCRIPTION.metadata(), "norm": "grop"})}
    save_file(load_file(tmp_path / "file"), tmp_path / "odd", metadata=metadata)
    with pytest.raises(WeightsError, match="did you mean 'group'"):
        spnas_detect.load_detector(tmp_path / "odd", "cpu")
    with pytest.raises(ConfigError, match="device 'nowhere' cannot be used"):
        spnas_detect.load_detector(tmp_path / "file", "nowhere")
