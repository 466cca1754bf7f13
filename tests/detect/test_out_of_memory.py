"""What does not fit in memory, wherever in an evaluation, is tried once more with less at a time."""

import pytest
import torch
from torch import nn

import spnas_detect.task
from spnas_core import Architecture
from spnas_core.morphisms import Expand, identity
from spnas_core.tasks import EvaluationRequest, Fidelity, Pretraining
from spnas_detect.settings import DetectionSettings
from spnas_detect.task import DetectionTask
from spnas_detect.training import Classifier, OutOfMemoryError, TrainingSettings, smaller_parts

START = Architecture.parse("b@8_1-2-2")
DATA = {"image_size": 64, "train": 24, "validation": 12, "test": 10, "max_size": 32, "min_size": 12}


def lacking() -> RuntimeError:
    return RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 123456789 bytes")


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def parent(cache):
    made = task(cache)
    made.evaluate(request(weights=cache / "parent"), lambda _: None)
    return cache / "parent"


def task(cache, batch_size=4, **values):
    table = {"image_size": (64, 64), "data_options": DATA, "training": {"batch_size": batch_size}, **values}
    made = DetectionTask(DetectionSettings.model_validate({**table, "pretraining": {"image_side": 32}}))
    made.prepare(cache, lambda *_: None)
    return made


def request(rewrite=None, parent=None, weights=None, pretraining=None, epochs=0):
    return EvaluationRequest(
        0, rewrite or identity(START), parent, weights, Fidelity(epochs), 1, pretraining=pretraining
    )


@pytest.mark.parametrize(
    ("batch", "parts", "expected"),
    [(8, 1, 2), (8, 2, 4), (15, 1, 3), (15, 3, 15), (7, 1, 7), (9, 2, 9), (6, 3, 6), (8, 8, 8), (1, 1, 1), (2, 1, 2)],
)
def test_parts_are_equal_and_of_half_the_size_at_most(batch, parts, expected):
    found = smaller_parts(TrainingSettings(batch_size=batch, accumulate=parts))
    assert found == expected
    assert batch % found == 0 or found == parts
    assert found in {parts, *range(2 * parts, batch + 1)}


def test_a_step_of_an_odd_batch_is_tried_in_more_parts(cache, monkeypatch):
    losses, sizes = spnas_detect.task.Trainer._gradients, []

    def limited(trainer, batches):
        sizes.append(len(batches[0].indices))
        if len(batches[0].indices) > 1:
            raise lacking()
        return losses(trainer, batches)

    monkeypatch.setattr(spnas_detect.task.Trainer, "_gradients", limited)
    evaluation = task(cache, 3).evaluate(request(epochs=1), lambda _: None)
    assert evaluation.receipt["accumulate"] == 3
    assert set(sizes[1:]) == {1}


def test_images_that_do_not_fit_while_they_are_scored(cache, monkeypatch):
    scored, sizes = spnas_detect.task.score, []

    def limited(*given, batch_size, **options):
        sizes.append(batch_size)
        if batch_size > 2:
            raise lacking()
        return scored(*given, batch_size=batch_size, **options)

    monkeypatch.setattr(spnas_detect.task, "score", limited)
    assert task(cache).evaluate(request(), lambda _: None).receipt["accumulate"] == 2
    assert sizes == [4, 2]
    message = r"^1 images at a time do not fit in the memory of cpu: 117\.7 MiB more were asked for"
    monkeypatch.setattr(spnas_detect.task, "score", lambda *_, **__: (_ for _ in ()).throw(lacking()))
    with pytest.raises(OutOfMemoryError, match=message):
        task(cache, 2).evaluate(request(), lambda _: None)


@pytest.mark.parametrize("place", ["calibrate_pass_through", "backbone_change"])
def test_images_that_do_not_fit_before_the_first_step(cache, parent, monkeypatch, place):
    usual, sizes = getattr(spnas_detect.task, place), []

    def limited(*given, **options):
        images = next(one for one in reversed(given) if isinstance(one, torch.Tensor))
        sizes.append(len(images))
        if len(images) > 12:
            raise lacking()
        return usual(*given, **options)

    monkeypatch.setattr(spnas_detect.task, place, limited)
    monkeypatch.setattr(spnas_detect.task, "CALIBRATION_IMAGES", 24)
    evaluation = task(cache).evaluate(request(Expand().insert(START, 0, 1), parent), lambda _: None)
    assert evaluation.receipt["accumulate"] == 2
    assert sizes in ([24, 12], [16, 12])
    assert evaluation.receipt["output_change"]


@pytest.mark.parametrize("batch_size", [1, 4])
def test_images_that_do_not_fit_while_they_are_classified(cache, parent, monkeypatch, batch_size):
    usual = Classifier.forward

    def limited(classifier: nn.Module, images):
        if len(images) > 16:
            raise lacking()
        return usual(classifier, images)

    monkeypatch.setattr(Classifier, "forward", limited)
    given = request(None, parent, pretraining=Pretraining(1))
    evaluation = task(cache, batch_size).evaluate(given, lambda _: None)
    assert evaluation.receipt["pretraining"]["epochs"] == 1
    assert evaluation.receipt["accumulate"] == max(1, batch_size // 2)
    monkeypatch.setattr(Classifier, "forward", lambda *_: (_ for _ in ()).throw(lacking()))
    with pytest.raises(
        OutOfMemoryError, match=r"^16 images of 32x32 to classify at a time do not fit .* lower task\.pre"
    ):
        task(cache, batch_size).evaluate(given, lambda _: None)


def test_what_cannot_be_less_is_not_tried_again(cache, monkeypatch):
    tried = []

    def fails(*_, **__):
        tried.append(1)
        raise lacking()

    monkeypatch.setattr(spnas_detect.task, "score", fails)
    with pytest.raises(OutOfMemoryError):
        task(cache, 1).evaluate(request(), lambda _: None)
    assert len(tried) == 1
