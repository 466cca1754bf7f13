"""Evaluation in several processes gives the numbers of one; evaluation and prediction have the training's precision."""

import inspect
import json
import math
from dataclasses import replace

import pytest
import torch
from mixed_images import photograph
from tiny_training import tiny_settings

import spnas_detect
from spnas_core import Architecture
from spnas_core.errors import ConfigError
from spnas_core.morphisms import identity
from spnas_core.tasks import EvaluationRequest, Fidelity
from spnas_detect.detectors import read_description
from spnas_detect.devices import check_devices
from spnas_detect.inference import evaluation, prediction
from spnas_detect.inference.sources import WeightsSource
from spnas_detect.jobs import train
from spnas_detect.settings import DetectionSettings
from spnas_detect.task import DetectionTask
from spnas_detect.training.weights import load_weights, write_tensors

OPTIONS = {"image_size": 64, "max_size": 40, "min_size": 16, "train": 12, "validation": 2, "test": 13}


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    folder = tmp_path_factory.mktemp("task")
    values = {"data_options": OPTIONS, "image_size": (64, 64), "detector": {"neck_channels": 8}, "device": "cpu"}
    task = DetectionTask(DetectionSettings.model_validate({**values, "metrics": ("coco", "voc")}))
    task.prepare(folder / "cache", lambda *_: None)
    request = EvaluationRequest(
        0, identity(Architecture.parse("b@4_1-2")), None, folder / "w.safetensors", Fidelity(1), 1, split="test"
    )
    task.evaluate(request, lambda _: None)
    return request.weights


@pytest.mark.slow
def test_two_processes_have_the_numbers_of_one(weights, tmp_path):
    reports = []
    for devices in (1, 2):
        out = tmp_path / str(devices)
        reports.append(
            spnas_detect.evaluate(
                weights, split="train", device="cpu", batch_size=5, devices=devices, score_threshold=0.02,
                out=out / "out", curves=out / "curves", worst=2,
            )
        )  # fmt: skip
    one, two = reports
    assert two.metrics.keys() == one.metrics.keys()
    assert all(two.metrics[name] == value or math.isnan(value) for name, value in one.metrics.items())
    assert any(0 < value < 1 for value in one.metrics.values())
    assert two.classes == one.classes
    assert [image.name for image in two.worst] == [image.name for image in one.worst]
    assert two.warnings == one.warnings
    assert one.warnings[0].startswith("12 of 12 train images are among those")
    documents = [json.loads((tmp_path / name / "out" / "evaluation.json").read_text()) for name in "12"]
    assert documents[0] == documents[1]
    for name in ("confusion.csv", "precision-recall.csv"):
        texts = [(tmp_path / number / "curves" / name).read_text() for number in "12"]
        assert texts[0] == texts[1]


def test_no_process_at_all_is_refused(weights):
    with pytest.raises(ConfigError, match="devices is 0: it must be at least 1"):
        spnas_detect.evaluate(weights, device="cpu", devices=0)


def test_more_processes_than_gpus_are_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    check_devices(9, torch.device("cpu"))
    check_devices(2, torch.device("cuda"))
    with pytest.raises(ConfigError, match="devices is 3, and this machine has 2 GPUs: lower it, or"):
        check_devices(3, torch.device("cuda"))


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_precision_is_the_trainings(weights, tmp_path, monkeypatch, precision):
    used = []

    def observed(*arguments, **options):
        used.append(options["precision"])
        return score(*arguments, **options)

    score = evaluation.score
    monkeypatch.setattr(evaluation, "score", observed)
    description = read_description(weights)
    changed = replace(description, trained_on=replace(description.trained_on, precision=precision))
    write_tensors(load_weights(weights), tmp_path / "w.safetensors", changed.metadata())
    report = spnas_detect.evaluate(tmp_path / "w.safetensors", device="cpu")
    assert used == [precision]
    plain = spnas_detect.evaluate(weights, device="cpu")
    scores = [{name: value for name, value in one.metrics.items() if value == value} for one in (report, plain)]
    assert (scores[0] == scores[1]) == (precision == "float32")


def observed_predictions(monkeypatch):
    """The precisions that images are detected in from now on."""
    used, found = [], prediction.detect

    def observed(*arguments, **options):
        used.append(inspect.signature(found).bind(*arguments, **options).arguments.get("precision"))
        return found(*arguments, **options)

    monkeypatch.setattr(prediction, "detect", observed)
    return used


def written(weights, path, **changes):
    """The same weights, with a description of which something is different."""
    write_tensors(load_weights(weights), path, replace(read_description(weights), **changes).metadata())
    return path


@pytest.fixture(scope="module")
def photo(tmp_path_factory):
    path = tmp_path_factory.mktemp("photo") / "photo.jpg"
    photograph(128, 136).save(path)
    return path


@pytest.mark.parametrize("reduced_decoding", [False, True])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_predictions_have_the_precision_of_the_training(
    weights, photo, tmp_path, monkeypatch, precision, reduced_decoding
):
    used = observed_predictions(monkeypatch)
    trained_on = replace(read_description(weights).trained_on, precision=precision)
    changed = written(weights, tmp_path / "w.safetensors", trained_on=trained_on, reduced_decoding=reduced_decoding)
    spnas_detect.predict(changed, photo, device="cpu")
    assert used == [precision]


def test_of_weights_that_remember_no_training_the_settings_beside_them_say_the_precision(
    weights, photo, tmp_path, monkeypatch
):
    used = observed_predictions(monkeypatch)
    older = written(weights, tmp_path / "w.safetensors", trained_on=None)
    spnas_detect.predict(older, photo, device="cpu")
    source = WeightsSource(older, {"training": {"precision": "bfloat16"}})
    monkeypatch.setattr(prediction, "find_weights", lambda _: source)
    spnas_detect.predict("run", photo, device="cpu")
    assert used == ["auto", "bfloat16"]
    assert source.precision(read_description(weights)) == "float32"  # what the file remembers goes first


@pytest.mark.slow
def test_a_training_in_two_processes_is_scored_as_its_weights_are(tmp_path):
    """Each process has norms with statistics of its own: what is scored is what the first one writes."""
    settings = tiny_settings(devices=2, score_every=1)
    result = train(settings, tmp_path / "out")
    size = settings.training.batch_size // 2
    report = spnas_detect.evaluate(tmp_path / "out", device="cpu", batch_size=size)
    assert result.scores == pytest.approx(dict(report.metrics), abs=1e-9, nan_ok=True)
    assert any(0 < value < 1 for value in result.scores.values())
