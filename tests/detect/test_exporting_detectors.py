"""Whole detectors in plain operators: what stands in for the kernels, and what an exported file finds."""

import json

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from click.testing import CliRunner
from interop_page import block, run
from PIL import Image

import spnas_detect
from spnas_core.encoding import Architecture
from spnas_core.errors import ExportError
from spnas_core.exporting import ExporterPlugin
from spnas_core.morphisms import identity
from spnas_detect.detectors import DetectorDescription, DetectorSettings, build_detector
from spnas_detect.exporting import plain
from spnas_detect.exporting.detectors import compare_detections
from spnas_detect.training.weights import save_weights
from spnas_kernels import nms_grouped_padded, roi_align_fpn
from spnas_search.cli.main import commands

CODE = "b@8_1-21-1"
CLASSES = ("cat", "dog", "cow")
CANVAS = (96, 64)


def export(*arguments):
    return CliRunner().invoke(commands, ["export", *map(str, arguments)])


def drawn(seed):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def weights(tmp_path):
    """Write a detector that finds something everywhere: ``weights(name)``."""

    def write(name, **settings):
        chosen = {"rpn_proposals": 20, "max_detections": 15, "sampling_ratio": 1, "score_threshold": 0.001, **settings}
        settings = DetectorSettings(detector=name, neck_channels=8, head_channels=16, **chosen)
        module, _, _ = build_detector(identity(Architecture.parse(CODE)), 3, settings, {}, generator=drawn(1))
        with torch.no_grad():
            for key, tensor in module.named_parameters():
                if ("cls" in key or "bbox" in key) and key.endswith("weight"):
                    tensor.normal_(0, 0.3, generator=drawn(2))
        description = DetectorDescription(CODE, CLASSES, settings, CANVAS)
        save_weights(module, tmp_path / "weights.safetensors", {**description.metadata(), "norm": "batch"})
        return tmp_path / "weights.safetensors"

    return write


def found_by(path, images):
    """What the detector finds that the kernels work for."""
    detector, _ = spnas_detect.load_detector(path, "cpu")
    with torch.no_grad():
        return detector.detect(images)


def assert_finds_the_same(path, images, found):
    expected = found_by(path, images)
    assert expected.counts.min() > 3
    assert torch.equal(found[3], expected.counts)
    assert torch.equal(found[2], expected.labels)
    assert (found[0] - expected.boxes).abs().max() <= 1e-3
    assert (found[1] - expected.scores).abs().max() <= 1e-5


def test_suppression_is_the_kernels_bit_by_bit():
    for seed in range(4):
        corners = torch.randint(0, 40, (3, 60, 2), generator=drawn(seed)).float()
        sides = torch.randint(0, 12, (3, 60, 2), generator=drawn(seed + 10)).float()
        boxes = torch.cat([corners, corners + sides], -1)  # a grid: equal boxes, empty ones, an IoU of just one half
        scores = torch.randint(0, 30, (3, 60), generator=drawn(seed + 20)).float()
        scores[:, ::7] = -torch.inf
        groups = torch.randint(0, 2, (3, 60), generator=drawn(seed + 30))
        for kept, expected in zip(
            plain.suppress(boxes, scores, groups, 0.5, 50),
            nms_grouped_padded(boxes, scores, groups, 0.5, 50),
            strict=True,
        ):
            assert torch.equal(kept, expected)


@pytest.mark.parametrize("samples", [1, 2, 3])
def test_pooling_is_the_kernels(samples):
    features = [torch.randn(2, 5, 24 // 2**level, 32 // 2**level, generator=drawn(level)) for level in range(3)]
    corners = torch.rand(200, 2, generator=drawn(4)) * 150 - 20  # some begin outside
    sides = 10 ** (torch.rand(200, 2, generator=drawn(5)) * 3 - 0.5)  # some are empty, some larger than the image
    images = torch.randint(0, 2, (200, 1), generator=drawn(6)).float()
    rois = torch.cat([images, corners, corners + sides], 1)
    geometry = {"sampling_ratio": samples, "canonical_size": 20.0, "canonical_level": 0, "first_level": 0}
    scales = [1 / 4, 1 / 8, 1 / 16]
    expected = roi_align_fpn(features, rois, 3, scales, **geometry)
    assert (plain.pool(features, rois, 3, scales, **geometry) - expected).abs().max() <= 1e-5


@pytest.mark.parametrize(
    "name", ["faster-rcnn", *(pytest.param(name, marks=pytest.mark.slow) for name in ("cascade-rcnn", "retinanet"))]
)
def test_onnx_finds_the_same_boxes(tmp_path, weights, name, monkeypatch):
    path = weights(name)
    done = export(path, "--part", "detector", "--out", tmp_path / "exported")
    assert done.exit_code == 0, done.output
    said = f"detector {name} on {CODE}: takes images [N, 3, 64, 96], gives boxes [N, 15, 4], scores [N, 15]"
    assert said in done.output
    assert "warning" not in done.output
    file = tmp_path / "exported" / "detector.onnx"
    model = onnx.load(file)
    assert {entry.domain for entry in model.opset_import} <= {"", "ai.onnx"}
    assert not model.functions
    facts = {entry.key: entry.value for entry in model.metadata_props}
    assert json.loads(facts["classes"]) == list(CLASSES)
    images = torch.randn(3, 3, 64, 96, generator=drawn(9))
    found = onnxruntime.InferenceSession(file).run(None, {"images": images.numpy()})
    assert_finds_the_same(path, images, [torch.from_numpy(part) for part in found])
    monkeypatch.chdir(tmp_path)
    assert_the_page_finds_what_predict_does(path)


def assert_the_page_finds_what_predict_does(path):
    """In an image as large as the canvas: resized ones differ by how two libraries round."""
    colours = np.random.default_rng(0).integers(0, 256, (*reversed(CANVAS), 3), dtype=np.uint8)
    Image.fromarray(colours).save("street.png")
    names = run(block("onnxruntime.InferenceSession").replace("street.jpg", "street.png"))
    (expected,) = spnas_detect.predict(path, ["street.png"], score_threshold=0.0).images
    count = int(names["counts"][0])
    assert count == len(expected.boxes) > 3
    assert names["labels"][0, :count].tolist() == expected.labels.tolist()
    assert names["label"] == expected.labels[-1]
    np.testing.assert_allclose(names["scores"][0, :count], expected.scores, atol=1e-4)
    np.testing.assert_allclose(names["boxes"][0, :count] * names["factors"], expected.boxes, atol=0.01)


@pytest.mark.parametrize(
    "name", ["retinanet", *(pytest.param(name, marks=pytest.mark.slow) for name in ("faster-rcnn", "cascade-rcnn"))]
)
def test_torch_export_finds_the_same_boxes_without_operators_of_ours(tmp_path, weights, name):
    path = weights(name)
    done = export(path, "--part", "detector", "--to", "torch-export", "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    facts = {"facts.json": ""}
    program = torch.export.load(tmp_path / "out" / "detector.pt2", extra_files=facts)
    assert json.loads(facts["facts.json"])["image_size"] == list(CANVAS)
    assert not [
        node for node in program.graph.nodes if "spnas" in str(node.target) or "torchvision" in str(node.target)
    ]
    images = torch.randn(3, 3, 64, 96, generator=drawn(9))
    with torch.no_grad():
        assert_finds_the_same(path, images, program.module()(images))


def test_an_image_is_the_example_and_a_blind_detector_is_said(tmp_path, weights, monkeypatch):
    exported = []
    plugin = ExporterPlugin("writes nothing", lambda *given: exported.append(given) or ())
    monkeypatch.setattr("spnas_core.exporting._base.exporter_plugin", lambda _: plugin)
    Image.new("RGB", (192, 64), (124, 116, 104)).save(tmp_path / "grey.png")
    path = weights("retinanet", score_threshold=0.999)
    done = export(
        path,
        "--part",
        "detector",
        "--to",
        "torch-export",
        "--example",
        tmp_path / "grey.png",
        "--out",
        tmp_path / "out",
    )
    assert "warning: nothing is detected on the example, so no box was compared" in done.output
    images = exported[0][0].images
    assert images.shape == (1, 3, 64, 96)
    assert images[..., :32, :].abs().max() < 0.02  # ImageNet's mean
    assert not images[..., 32:, :].any()  # padded behind the normalisation


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((CODE, "--part", "detector"), "the code b@8_1-21-1 is of a backbone alone: name a run or a file"),
        ((CODE, "--example", "a.png"), "--example is for --part detector"),
    ],
)
def test_what_has_no_detector_is_refused(tmp_path, arguments, message):
    refused = export(*arguments, "--out", tmp_path / "out")
    assert refused.exit_code == 2
    assert message in refused.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("settings", "arguments", "message"),
    [
        ({}, ("--to", "source"), "cannot be written as source: that is for backbones alone"),
        ({}, ("--to", "torch-export", "--example", "nowhere.png"), "nowhere.png"),
    ],
)
def test_what_a_detector_cannot_be_is_refused_in_one_line(tmp_path, weights, settings, arguments, message):
    refused = export(weights("faster-rcnn", **settings), "--part", "detector", *arguments, "--out", tmp_path / "out")
    assert refused.exit_code == 2
    assert message in refused.stderr
    assert len(refused.stderr.splitlines()) == 1


def test_pooling_by_the_size_of_an_roi_is_refused():
    with pytest.raises(ExportError, match="sampling_ratio = 0 takes as many samples as an RoI has pixels"):
        plain.pool(
            [torch.zeros(1, 1, 4, 4)],
            torch.zeros(1, 5),
            2,
            [1.0],
            sampling_ratio=0,
            canonical_size=4.0,
            canonical_level=0,
            first_level=0,
        )


def detections(count=40):
    corners = torch.rand(1, count, 2, generator=drawn(1)) * 100
    boxes = torch.cat([corners, corners + 10 + torch.arange(count)[:, None]], -1)
    scores = torch.linspace(0.9, 0.1, count)[None]
    return [boxes, scores, torch.ones(1, count, dtype=torch.int64), torch.tensor([count])]


def test_detections_are_compared_in_any_order():
    expected = detections()
    order = torch.randperm(40, generator=drawn(2))
    found = [*(part[:, order] for part in expected[:3]), expected[3]]
    assert compare_detections(expected, found) == 0
    found[1] = found[1] + 1e-5
    assert compare_detections(expected, found) == pytest.approx(1e-5, rel=0.01)


@pytest.mark.parametrize("part", [0, 1, 2])
def test_detections_that_differ_are_found_out(part):
    expected, found = detections(), detections()
    found[part] = found[part].clone()
    found[part][:, :2] += 1
    with pytest.raises(ExportError, match="4 of 80 detections of the two sides are on one of them alone"):
        compare_detections(expected, found)
    found[3] = torch.tensor([30])
    with pytest.raises(ExportError, match="on one of them alone"):
        compare_detections(expected, found)
