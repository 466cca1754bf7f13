"""``spnas export``: of a code, a weights file and a run."""

import importlib.util

import pytest
import torch
from click.testing import CliRunner

import spnas_detect
from spnas_core.encoding import Architecture
from spnas_core.morphisms import identity
from spnas_core.tasks import ResolvedCandidate
from spnas_detect.detectors import DetectorDescription, DetectorSettings, build_detector
from spnas_detect.training.norms import convert_norms
from spnas_detect.training.weights import save_weights
from spnas_search.cli.main import commands

CODE = "b@8_1-21_0-1"
SETTINGS = DetectorSettings(neck_channels=8, head_channels=16)


def export(*arguments):
    return CliRunner().invoke(commands, ["export", *map(str, arguments)])


@pytest.fixture
def weights(tmp_path):
    """Write a detector's file with the norm: ``weights(norm)``."""

    def write(norm):
        generator = torch.Generator().manual_seed(1)
        module, _, _ = build_detector(identity(Architecture.parse(CODE)), 1, SETTINGS, {}, generator=generator)
        for name, buffer in module.named_buffers():
            if name.endswith("running_mean"):
                buffer.normal_(generator=generator)
        convert_norms(module, norm)
        description = DetectorDescription(CODE, ("cat",), SETTINGS, (64, 96))
        save_weights(module, tmp_path / "weights.safetensors", {**description.metadata(), "norm": norm})
        return tmp_path / "weights.safetensors"

    return write


def module_of(file):
    spec = importlib.util.spec_from_file_location("exported", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_code_is_exported_with_fresh_weights(tmp_path):
    done = export("b@8_1-21", "--to", "source", "--image", "64x48", "--out", tmp_path)
    assert done.exit_code == 0, done.output
    said = "backbone b@8_1-21: takes images [N, 3, 48, 64], gives s1 (8 channels, /4), s2 (16 channels, /8)"
    assert said in done.output
    assert sorted(file.name for file in tmp_path.iterdir()) == ["backbone.py", "backbone.safetensors"]


@torch.no_grad()
@pytest.mark.parametrize("norm", ["batch", "frozen", "sync"])
def test_a_weights_file_gives_the_detectors_backbone_on_its_canvas(tmp_path, weights, norm):
    path = weights(norm)
    done = export(path, "--to", "source", "--out", tmp_path / "out")
    assert "takes images [N, 3, 96, 64]" in done.output
    detector, _ = spnas_detect.load_detector(path, "cpu")
    images = torch.randn(2, 3, 96, 64, generator=torch.Generator().manual_seed(0))
    found = module_of(tmp_path / "out" / "backbone.py").load(tmp_path / "out" / "backbone.safetensors")(images)
    for name, level in detector.backbone(images).items():
        assert (found[name] - level).abs().max() <= 1e-4 * level.abs().max()


def test_a_candidate_of_a_run_is_found(tmp_path, weights, monkeypatch):
    found = ResolvedCandidate(CODE, weights("batch"))
    monkeypatch.setattr("spnas_search.starting_points.resolve_candidate", lambda _: found)
    done = export("runs/mine:7", "--to", "source", "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert f"backbone {CODE}" in done.output


def test_group_norm_is_no_matter_of_the_source(tmp_path, weights):
    refused = export(weights("group"), "--to", "source", "--out", tmp_path / "out")
    assert refused.exit_code == 2
    assert "is a GroupNorm, and the source has batch norm: export it to onnx or torch-export instead" in refused.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("b@8_1--1",), "stage 2 of '1--1' is empty"),
        (("nowhere.safetensors",), "nowhere.safetensors does not exist"),
        (("runs/nowhere:3",), "does not exist"),
        (("trident(b@8_11-21)", "--to", "source", "--image", "64x64"), "it is not what a code alone describes"),
        ((CODE, "--to", "tensorflow"), "'tensorflow' is not among the registered exporters"),
    ],
)
def test_what_cannot_be_exported_is_refused_in_one_line(tmp_path, arguments, message):
    refused = export(*arguments, "--out", tmp_path / "out")
    assert refused.exit_code == 2
    assert message in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
    assert not (tmp_path / "out").exists()
