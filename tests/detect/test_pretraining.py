"""Classification before detection: the images, the training, and what a reignited detector keeps."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

import spnas_search
from spnas_core import Architecture
from spnas_core.errors import DataError, EvaluationError
from spnas_core.morphisms import Step, identity
from spnas_core.networks import build_backbone
from spnas_core.tasks import EvaluationRequest, Fidelity, Pretraining, check_pretraining, pretrains
from spnas_detect.data import cache_thumbnails, open_image_folder
from spnas_detect.settings import DetectionSettings
from spnas_detect.task import DetectionTask
from spnas_detect.training import Classifier, PretrainingSettings, TrainingSettings, load_weights, pretrain

COLOURS = {"blue": (30, 40, 200), "green": (40, 190, 50), "red": (210, 40, 30)}
CODE = Architecture.parse("b@8_1-2-1-1")
QUIETLY = {"report": lambda *_: None}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Noisy images of three colours, of different sizes, with Pillow."""
    root = tmp_path_factory.mktemp("colours")
    rng = np.random.default_rng(0)
    for name, colour in COLOURS.items():
        (root / name).mkdir()
        for number in range(24):
            size = rng.integers(20, 90, 2)
            pixels = np.clip(np.array(colour) + rng.normal(0, 30, (*size, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(root / name / f"{number}.png")
    return root


@pytest.fixture(scope="module")
def colours(folder, tmp_path_factory):
    return cache_thumbnails(open_image_folder(folder, seed=0), tmp_path_factory.mktemp("cache"), 32)


def test_images_are_decoded_once(folder, tmp_path, monkeypatch):
    data = open_image_folder(folder, seed=0)
    steps = []
    first = cache_thumbnails(data, tmp_path, 32, lambda *step: steps.append(step))
    assert steps[-1] == (72, 72)
    assert first.classes == tuple(sorted(COLOURS))
    assert {split: len(one) for split, one in first.splits.items()} == {"train": 57, "validation": 15}
    batch = first.splits["train"].batch(torch.tensor([0, 5]))
    assert (batch.shape, batch.dtype) == ((2, 3, 36, 36), torch.uint8)
    for split in first.splits.values():
        means = split.batch(torch.arange(len(split))).float().mean((2, 3))
        expected = torch.tensor([COLOURS[first.classes[label]] for label in split.labels.tolist()])
        assert (means - expected).abs().max() < 12
    monkeypatch.setattr("spnas_detect.data.image_folder.read_image", lambda _: pytest.fail("read a second time"))
    again = cache_thumbnails(open_image_folder(folder, seed=0), tmp_path, 32)
    for name, split in first.splits.items():
        assert np.array_equal(again.splits[name].images, split.images)
        assert torch.equal(again.splits[name].labels, split.labels)
    assert len(list(tmp_path.iterdir())) == 1  # nothing unfinished is left
    (pixels,) = tmp_path.rglob("train.npy")
    pixels.write_bytes(pixels.read_bytes()[:-1] + b"?")
    with pytest.raises(DataError, match=r"damaged: remove the folder \(train.npy was altered\)"):
        cache_thumbnails(data, tmp_path, 32)


def test_an_image_that_cannot_be_read_leaves_no_cache(folder, tmp_path):
    copy = tmp_path / "images"
    shutil.copytree(folder, copy)
    (copy / "red" / "3.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"3\.png"):
        cache_thumbnails(open_image_folder(copy, seed=0), tmp_path / "cache", 32)
    assert not (tmp_path / "cache").exists()


def test_a_backbone_learns_to_tell_classes_apart(colours):
    backbone = build_backbone(CODE, generator=torch.Generator().manual_seed(0))
    settings = PretrainingSettings(image_side=32, batch_size=16)
    steps = []
    result = pretrain(
        backbone, colours, settings, TrainingSettings(), 4, seed=0, report=lambda *step: steps.append(step[:2])
    )
    assert (result.epochs, result.images, result.classes) == (4, 57, 3)
    assert result.accuracy > 0.9  # chance is a third
    assert steps == [(done, 12) for done in range(1, 13)]
    assert "head" not in dict(backbone.named_children())


def test_the_same_seed_gives_the_same_weights(colours):
    def trained(seed):
        backbone = build_backbone(CODE, generator=torch.Generator().manual_seed(0))
        settings = PretrainingSettings(image_side=32, batch_size=16)
        pretrain(backbone, colours, settings, TrainingSettings(), 1, seed=seed, **QUIETLY)
        return backbone.state_dict()

    one, again, other = trained(1), trained(1), trained(2)
    assert all(torch.equal(tensor, again[name]) for name, tensor in one.items())
    assert not all(torch.equal(tensor, other[name]) for name, tensor in one.items())


def test_a_classifier_reads_the_mean_of_the_last_stage():
    backbone = build_backbone(CODE).eval()
    classifier = Classifier(backbone, 5, torch.Generator().manual_seed(0)).eval()
    images = torch.randn(2, 3, 64, 48)
    expected = classifier.head(backbone(images)["s4"].mean((2, 3)))
    torch.testing.assert_close(classifier(images), expected)


def test_a_loss_that_is_not_finite_ends_the_candidate(colours):
    backbone = build_backbone(CODE)
    settings = PretrainingSettings(image_side=32, batch_size=16, learning_rate=1e30)
    with pytest.raises(EvaluationError, match="the loss of classification is nan in step"):
        pretrain(backbone, colours, settings, TrainingSettings(warmup_steps=0), 3, seed=0, **QUIETLY)


def task(folder=None, **pretraining):
    data = {"train": 16, "validation": 8, "test": 4}
    table = {"data_options": data, "image_size": (64, 64), "pretraining": {"image_side": 32, **pretraining}}
    return DetectionTask(DetectionSettings(**table, **({} if folder is None else {"data": folder})))


def evaluated(made, tmp_path, parent=None, pretraining=None, epochs=0, name="w"):
    request = EvaluationRequest(
        0, identity(CODE), parent, tmp_path / name, Fidelity(epochs), seed=5, pretraining=pretraining
    )
    return made.evaluate(request, lambda _: None), load_weights(tmp_path / name)


@pytest.mark.parametrize("fresh", [False, True])
def test_a_reignited_detector_keeps_neck_and_heads(tmp_path, fresh):
    made = task()
    assert pretrains(made)
    made.prepare(tmp_path / "cache", lambda *_: None)
    _, before = evaluated(made, tmp_path, epochs=1, name="parent")
    plain, _ = evaluated(made, tmp_path, tmp_path / "parent")
    evaluation, after = evaluated(made, tmp_path, tmp_path / "parent", Pretraining(1, fresh))
    changed = {name for name, tensor in after.items() if not torch.equal(tensor, before[name])}
    assert changed
    assert all(name.startswith("backbone.") for name in changed)
    told = evaluation.receipt["pretraining"]
    assert (told["epochs"], told["classes"]) == (1, 5)  # four shapes, and places without one
    assert "pretraining" not in plain.receipt
    sizes = {name: tensor.numel() for name, tensor in after.items() if name.endswith(("weight", "bias"))}
    kept = sum(size for name, size in sizes.items() if not (fresh and name.startswith("backbone.")))
    assert evaluation.receipt["inherited_percent"] == pytest.approx(100 * kept / sum(sizes.values()))


def test_a_folder_of_one_class_is_refused_before_anything_is_trained(tmp_path, folder):
    (tmp_path / "one" / "red").mkdir(parents=True)
    (tmp_path / "none").mkdir()
    for name, count in (("one", 1), ("none", 0)):
        with pytest.raises(DataError, match=rf"holds {count} class folder\(s\), at least 2 are needed"):
            check_pretraining(task(data=str(tmp_path / name)))
        settings = {"name": "detection", "pretraining": {"data": str(tmp_path / name)}}
        with pytest.raises(DataError, match="at least 2 are needed"):
            spnas_search.search(task=settings, strategy="full", out=tmp_path / "run")
        assert not (tmp_path / "run").exists()
    made = task(data=str(folder))
    (note,) = check_pretraining(made)
    assert "validation split carved" in note
    made.prepare(tmp_path / "cache", lambda *_: None)
    evaluation, _ = evaluated(made, tmp_path, pretraining=Pretraining(1))
    assert evaluation.receipt["pretraining"]["classes"] == 3


@pytest.fixture
def faulty(folder, tmp_path):
    """One image is none, and one of another class is cut off in its header."""
    root = tmp_path / "faulty"
    shutil.copytree(folder, root)
    (root / "red" / "3.png").write_bytes(b"no image")
    (root / "blue" / "4.png").write_bytes((folder / "blue" / "4.png").read_bytes()[:20])
    return root


def test_images_that_cannot_be_read_are_refused_before_anything_is_trained(faulty, tmp_path):
    with pytest.raises(DataError, match=r"4\.png|3\.png"):
        check_pretraining(task(data=str(faulty)))
    settings = {"name": "detection", "pretraining": {"data": str(faulty)}}
    with pytest.raises(DataError, match=r"4\.png|3\.png"):
        spnas_search.search(task=settings, strategy="full", out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_images_that_cannot_be_read_are_left_out_where_the_data_drops_such(faulty):
    notes = open_image_folder(faulty, seed=0, on_fault="drop").notes
    assert notes[0].startswith("2 training image(s) that do not decode left out: ")
    data = open_image_folder(faulty, seed=0, on_fault="drop")
    assert len(data.files) == sum(map(len, data.splits.values())) == 70
    for image in (image for split in data.splits.values() for image in split):
        assert image.read().shape[2] == 3


def test_a_folder_is_known_by_its_images_whatever_their_times_are(folder, tmp_path):
    def known(root):
        made = task(data=str(root))
        assert made.pretraining_fingerprint == ""
        check_pretraining(made)
        return made.pretraining_fingerprint

    copy = tmp_path / "copy"
    shutil.copytree(folder, copy, copy_function=shutil.copyfile)  # with other times
    assert known(folder) == known(copy) != ""
    (copy / "red" / "0.png").write_bytes((copy / "red" / "1.png").read_bytes())
    altered = known(copy)
    assert altered != known(folder)
    (copy / "red" / "2.png").rename(copy / "blue" / "99.png")
    assert known(copy) not in {altered, known(folder)}
    crops = task()
    check_pretraining(crops)
    assert crops.pretraining_fingerprint == ""  # they are as the data that they are cut from


@pytest.mark.parametrize("fresh", [False, True])
def test_a_reignition_measures_no_change_of_what_pretraining_changes_at_once(tmp_path, fresh):
    made = task()
    made.prepare(tmp_path / "cache", lambda *_: None)
    evaluated(made, tmp_path, name="parent")
    rewrite = replace(identity(CODE), steps=(Step("reignite", "pretrained", None),))
    for pretraining, measures in ((Pretraining(1, fresh), False), (None, True)):
        request = EvaluationRequest(0, rewrite, tmp_path / "parent", None, Fidelity(0), seed=5, pretraining=pretraining)
        receipt = made.evaluate(request, lambda _: None).receipt
        assert bool(receipt["output_change"]) == measures
        assert receipt["broken_promise"] == ""


def test_a_data_set_that_gives_no_crop_is_refused_before_anything_is_trained(tmp_path):
    made = task(min_side=60)
    with pytest.raises(DataError, match="no object in the train images of shapes is 60 pixels long: lower min_side"):
        check_pretraining(made)
    settings = {"name": "detection", "pretraining": {"min_side": 60}}
    with pytest.raises(DataError, match="lower min_side"):
        spnas_search.search(task=settings, strategy="full", out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
    (train, validation) = check_pretraining(task())
    assert train.startswith("crops of shapes: train: ")
    assert validation.startswith("crops of shapes: validation: ")
