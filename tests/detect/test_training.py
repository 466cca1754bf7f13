import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spnas_core import Architecture
from spnas_core.configuration import validate, without_none
from spnas_core.errors import ConfigError, DataError, EvaluationError, WeightsError
from spnas_core.morphisms import AddStage, Swap, identity
from spnas_core.networks import Backbone
from spnas_core.tasks import EvaluationRequest, Fidelity
from spnas_detect.data import ShapesOptions
from spnas_detect.data.loader import Loader
from spnas_detect.detectors.faster_rcnn import FasterRCNN
from spnas_detect.detectors.loading import load_detector
from spnas_detect.settings import DetectionSettings
from spnas_detect.task import DetectionTask
from spnas_detect.training import OutOfMemoryError, learning_rate_factor, load_weights, save_weights
from spnas_detect.training.optimizer import make_optimizer
from spnas_detect.training.settings import TrainingSettings

START = Architecture.parse("b@8_1-2-2")


def settings(**changes) -> DetectionSettings:
    values = {
        "image_size": (64, 64),
        "data_options": {"image_size": 64, "train": 24, "validation": 12, "test": 10, "max_size": 32, "min_size": 12},
        **changes,
    }
    return DetectionSettings.model_validate(values)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def task(cache):
    prepared = DetectionTask(settings())
    prepared.prepare(cache, lambda *_: None)
    return prepared


def request(rewrite=None, *, epochs=1, seed=1, parent=None, weights=None, split="validation"):
    return EvaluationRequest(0, rewrite or identity(START), parent, weights, Fidelity(epochs), seed, 1, split)


@given(st.integers(1, 500), st.integers(0, 100), st.sampled_from(["cosine", "step"]))
def test_learning_rate_rises_then_falls_and_stays_positive(steps, warmup, schedule):
    factors = [learning_rate_factor(step, steps, warmup, schedule) for step in range(steps)]
    peak = min(warmup, int(0.2 * steps))
    assert all(0 < factor <= 1 for factor in factors)
    assert factors[: peak + 1] == sorted(factors[: peak + 1])
    assert factors[peak:] == sorted(factors[peak:], reverse=True)
    assert factors[peak] == 1


def test_drops_say_after_which_shares_of_all_steps_the_rate_falls():
    factors = [learning_rate_factor(step, 100, 10, "step", (0.5, 0.75)) for step in range(100)]
    assert factors[10:50] == [1.0] * 40
    assert factors[50:75] == pytest.approx([0.1] * 25)
    assert factors[75:] == pytest.approx([0.01] * 25)
    assert learning_rate_factor(50, 100, 10, "cosine", (0.5,)) == learning_rate_factor(50, 100, 10, "cosine")


@given(st.integers(1, 60), st.integers(1, 40), st.integers(1, 20))
def test_drops_before_the_end_are_at_the_first_steps_of_epochs(per_epoch, epochs, before):
    steps = epochs * per_epoch
    factors = [learning_rate_factor(step, steps, 0, "step", (-float(before),), epochs) for step in range(steps)]
    if before < epochs:
        assert [factors.count(1.0), factors.count(0.1)] == [steps - before * per_epoch, before * per_epoch]
    else:  # the training has no such phase: as without drops
        assert factors == [learning_rate_factor(step, steps, 0, "step") for step in range(steps)]


BAD_DROPS = [[], [0.5, 0.5], [0.9, 0.5], [0.0], [1.0], [8, 2], [-2, -8], [-2, -2], [-8, 0.9], [-8, 0]]


@pytest.mark.parametrize("drops", BAD_DROPS)
def test_drops_ascend_within_the_training(drops):
    with pytest.raises(ConfigError, match="drops"):
        validate(TrainingSettings, {"drops": drops})


@pytest.mark.parametrize(("said", "nesterov"), [(None, True), (True, True), (False, False)])
def test_sgds_momentum_is_nesterovs_unless_it_is_said_to_be_plain(said, nesterov):
    settings = TrainingSettings(optimizer="sgd", nesterov=said)
    assert make_optimizer(torch.nn.Linear(2, 2), settings, 0.1).param_groups[0]["nesterov"] is nesterov


def test_settings_that_nobody_gives_are_not_written(tmp_path):
    written = without_none(TrainingSettings().model_dump(mode="json"))
    added = {"drops", "nesterov", "empty", "sampling", "balance_threshold", "scale_onto", "min_visible", "mosaic"}
    assert not (added | {"mosaic_off_epochs"}) & written.keys()  # or runs from before would differ from themselves


def test_step_schedule_divides_by_ten_twice():
    factors = [learning_rate_factor(step, 90, 0, "step") for step in range(90)]
    assert [factors.count(value) for value in (1.0, 0.1)] == [60, 20]
    assert factors[-1] == pytest.approx(0.01)


def test_the_same_seed_gives_the_same_weights_and_metrics(task, tmp_path):
    one = task.evaluate(request(weights=tmp_path / "one"), lambda _: None)
    other = task.evaluate(request(weights=tmp_path / "other"), lambda _: None)
    third = task.evaluate(request(weights=tmp_path / "third", seed=2), lambda _: None)
    assert repr(one.metrics) == repr(other.metrics)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes()
    assert (tmp_path / "one").read_bytes() != (tmp_path / "third").read_bytes()
    assert third.cost == one.cost


def test_a_child_scored_without_training_has_inherited_its_parents_tensors(task, tmp_path):
    task.evaluate(request(weights=tmp_path / "parent"), lambda _: None)
    rewrite = AddStage().options(START)[0]
    evaluation = task.evaluate(
        request(rewrite, epochs=0, parent=tmp_path / "parent", weights=tmp_path / "child"), lambda _: None
    )
    parent, child = load_weights(tmp_path / "parent"), load_weights(tmp_path / "child")
    for name in parent.keys() & child.keys():
        assert torch.equal(parent[name], child[name]), name
    assert evaluation.receipt["dropped"] == ()
    # Adding a stage leaves every earlier output as it was.
    assert set(evaluation.receipt["output_change"].values()) == {0.0}


def test_the_receipt_of_a_swap_measures_its_output_change(task, tmp_path):
    task.evaluate(request(weights=tmp_path / "parent"), lambda _: None)
    start = Architecture.parse("b@8_11-2")
    task.evaluate(request(identity(start), weights=tmp_path / "parent"), lambda _: None)
    rewrite = Swap().options(start)[0]
    receipt = task.evaluate(request(rewrite, epochs=0, parent=tmp_path / "parent"), lambda _: None).receipt
    assert receipt["output_change"]
    assert all(change > 0 for change in receipt["output_change"].values())
    assert 0 < receipt["inherited_percent"] <= 100


def test_training_reports_every_step(task):
    seen = []
    task.evaluate(request(epochs=2), seen.append)
    steps = [progress.done for progress in seen if progress.note.startswith("loss")]
    assert steps == list(range(1, 7))
    assert {progress.total for progress in seen if progress.note.startswith("loss")} == {6}


def test_test_images_are_others_than_validation_images(task):
    validation = task.evaluate(request(epochs=3), lambda _: None).metrics
    test = task.evaluate(request(epochs=3, split="test"), lambda _: None).metrics
    assert repr(validation) != repr(test)


def test_a_diverging_loss_ends_the_evaluation_with_step_and_losses(cache):
    task = DetectionTask(settings(training={"learning_rate": 1e30, "warmup_steps": 0, "clip_norm": 0}))
    task.prepare(cache, lambda *_: None)
    with pytest.raises(EvaluationError, match=r"the loss is not finite at step \d+ of \d+: loss_"):
        task.evaluate(request(epochs=3), lambda _: None)


def test_training_learns(cache):
    options = {**settings().data_options, "train": 32, "objects": (2, 3), "min_size": 20}
    task = DetectionTask(
        settings(data_options=options, training={"batch_size": 4, "learning_rate": 0.004, "flip": 0.0})
    )
    task.prepare(cache, lambda *_: None)
    losses = []
    task.evaluate(request(epochs=8), lambda progress: losses.append(progress.note))
    values = [float(note.removeprefix("loss ")) for note in losses if note.startswith("loss")]
    assert sum(values[-8:]) < 0.7 * sum(values[:8])


@pytest.mark.parametrize(
    "changes",
    [
        {"optimizer": "sgd", "learning_rate": 0.02},
        {"schedule": "step"},
        {"share": 0.5},
        {"empty": "drop", "mosaic": 0.5, "sampling": "class-balanced"},
    ],
)
def test_other_training_settings_run(cache, changes):
    task = DetectionTask(settings(training=changes, metrics=("coco", "voc", "voc-11")))
    task.prepare(cache, lambda *_: None)
    metrics = task.evaluate(request(), lambda _: None).metrics
    assert {"AP", "AP50", "AP75", "APs", "APm", "APl", "VOC50", "VOC50-11"} <= metrics.keys()
    assert all(math.isnan(value) or 0 <= value <= 1 for value in metrics.values())


@pytest.mark.parametrize(("precision", "dtype"), [("bfloat16", torch.bfloat16), ("float32", torch.float32)])
def test_the_precision_of_the_settings_is_that_of_trainings(cache, monkeypatch, precision, dtype):
    task, seen = DetectionTask(settings(training={"precision": precision})), set()
    task.prepare(cache, lambda *_: None)
    forward = Backbone.forward

    def watched(self, images):
        levels = forward(self, images)
        seen.update(level.dtype for level in levels.values() if self.training and torch.is_grad_enabled())
        return levels

    monkeypatch.setattr(Backbone, "forward", watched)
    task.evaluate(request(), lambda _: None)
    assert seen == {dtype}


def test_weights_files_return_what_was_saved_and_refuse_damage(tmp_path):
    module = torch.nn.Linear(3, 2)
    save_weights(module, tmp_path / "file", {"architecture": "b_1"})
    loaded = load_weights(tmp_path / "file")
    assert all(torch.equal(loaded[name], tensor) for name, tensor in module.state_dict().items())
    (tmp_path / "file").write_bytes((tmp_path / "file").read_bytes()[:-4])
    with pytest.raises(WeightsError, match="no complete safetensors file"):
        load_weights(tmp_path / "file")
    with pytest.raises(WeightsError, match="does not exist"):
        load_weights(tmp_path / "none")


def test_an_unprepared_task_and_a_missing_device_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="call prepare"):
        DetectionTask(settings()).evaluate(request(), lambda _: None)
    with pytest.raises(ConfigError, match="device 'nowhere'"):
        DetectionTask(settings(device="nowhere")).prepare(tmp_path, lambda *_: None)
    with pytest.raises(DataError):
        DetectionTask(settings(data="nothing")).prepare(tmp_path, lambda *_: None)


def test_the_default_shapes_fill_the_default_canvas():
    assert DetectionSettings().image_size == (ShapesOptions().image_size,) * 2


# Fidelity


def test_a_smaller_fidelity_is_a_smaller_training_of_the_same_data(task, cache, tmp_path):
    weights = tmp_path / "small.safetensors"
    steps = []
    less = replace(request(epochs=2, weights=weights), fidelity=Fidelity(2, image_size=(32, 32), share=0.5))
    scores = task.evaluate(less, lambda progress: steps.append(progress.total)).metrics
    _, description = load_detector(weights, "cpu")
    assert description.image_size == (32, 32)
    whole = []
    task.evaluate(request(epochs=2), lambda progress: whole.append(progress.total))
    assert (max(steps), max(whole)) == (2 * (12 // 8), 2 * (24 // 8)), "batches of 8 of half the images, and of all"
    own = settings()
    own = own.model_copy(
        update={"image_size": (32, 32), "training": own.training.model_copy(update={"share": own.training.share * 0.5})}
    )
    small = DetectionTask(own)
    small.prepare(cache, lambda *_: None)
    alone = small.evaluate(request(epochs=2, weights=tmp_path / "alone.safetensors"), lambda _: None)
    assert alone.metrics == pytest.approx(scores, nan_ok=True)
    once, again = load_weights(weights), load_weights(tmp_path / "alone.safetensors")
    assert once.keys() == again.keys()
    assert all(torch.equal(once[name], again[name]) for name in once)


def test_the_annotations_of_another_image_size_are_read_once(task, monkeypatch):
    less = replace(request(epochs=0), fidelity=Fidelity(0, image_size=(32, 32)))
    task.evaluate(less, lambda _: None)
    monkeypatch.setattr("spnas_detect.opening.open_known", None)
    task.evaluate(less, lambda _: None)


@pytest.mark.parametrize(("most", "fits"), [(2, True), (1, False)])
def test_a_step_that_does_not_fit_is_tried_once_more_in_parts(cache, monkeypatch, most, fits):
    task = DetectionTask(settings(training={"batch_size": 4}))
    task.prepare(cache, lambda *_: None)
    losses, sizes, notes = FasterRCNN.losses, [], []

    def limited(detector, images, *others, **options):
        sizes.append(len(images))
        if len(images) > most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.50 GiB.")
        return losses(detector, images, *others, **options)

    monkeypatch.setattr(FasterRCNN, "losses", limited)
    if fits:
        evaluation = task.evaluate(request(), lambda progress: notes.append(progress.note))
        assert evaluation.receipt["accumulate"] == 2
        assert sizes[0] == 4
        assert set(sizes[1:]) == {2}
        assert "out of memory: once more, steps in 2 parts" in notes
    else:
        with pytest.raises(OutOfMemoryError, match=r"^2 images of .* do not fit .* 2\.50 GiB more were asked for"):
            task.evaluate(request(), lambda _: None)
        assert sizes == [4, 2]


def test_images_that_do_not_fit_while_they_are_read_are_tried_in_parts_too(cache, monkeypatch):
    task = DetectionTask(settings(training={"batch_size": 4}))
    task.prepare(cache, lambda *_: None)
    read, sizes = Loader._plain, []

    def limited(loader, indices, *others):
        sizes.append(len(indices))
        if len(indices) > 1:
            raise MemoryError
        return read(loader, indices, *others)

    monkeypatch.setattr(Loader, "_plain", limited)
    message = r"^2 images at a time do not fit in the memory of cpu: an unknown amount more were asked for"
    with pytest.raises(OutOfMemoryError, match=message):
        task.evaluate(request(), lambda _: None)
    assert sizes == [4, 2]


def test_weights_that_do_not_fit_in_memory_are_the_candidates_fault(cache):
    task = DetectionTask(settings(detector={"head_channels": 2**16, "neck_channels": 2**16, "pooled_size": 1000}))
    task.prepare(cache, lambda *_: None)
    with pytest.raises(EvaluationError, match=r"^the detector's weights do not fit in the memory of cpu: .* lower"):
        task.evaluate(request(epochs=0), lambda _: None)


def test_scores_in_between_change_nothing(tmp_path):
    """They stand in the receipt, and are told; the last one is the evaluation's own."""
    data = {"image_size": 64, "max_size": 32, "train": 16, "validation": 8, "test": 4}
    found = {}
    for after in ((), (1, 2, 3)):
        task = DetectionTask(DetectionSettings(data_options=data, image_size=(64, 64), score_after=after))
        task.prepare(tmp_path / "cache", lambda *_: None)
        told = []
        same = identity(Architecture.parse("b@8_1-2-1-1"))
        request = EvaluationRequest(0, same, None, tmp_path / "w", Fidelity(3), seed=4)
        evaluation = task.evaluate(request, told.append)
        found[after] = evaluation.metrics, load_weights(tmp_path / "w"), evaluation.receipt
        partial = evaluation.receipt.get("partial_scores", {})
        assert list(partial) == [str(epoch) for epoch in after[:2]]
        assert [progress.metrics for progress in told if progress.metrics] == list(partial.values())
        assert all("AP" in metrics for metrics in partial.values())
    (plain, weights, _), (scored, others, receipt) = found.values()
    assert repr(plain) == repr(scored)
    assert all(torch.equal(weights[name], others[name]) for name in weights)
    assert receipt["partial_scores"]["1"] != receipt["partial_scores"]["2"]
