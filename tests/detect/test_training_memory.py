"""What a weights file remembers of its training, and what ``spnas evaluate`` makes of it."""

import json
import shutil
from pathlib import Path

import pytest
from commands import done, refused
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from tiny_training import tiny_settings
from voc_folder import write_voc

import spnas_detect
from spnas_core import Architecture
from spnas_core.errors import WeightsError
from spnas_core.morphisms import identity
from spnas_core.tasks import EvaluationRequest, Fidelity
from spnas_detect.data import open_data
from spnas_detect.data.seen import KEPT_BYTES, SeenImages
from spnas_detect.detectors import DetectorDescription, DetectorSettings, TrainedOn, read_description
from spnas_detect.jobs import TrainFolder, train
from spnas_detect.settings import DetectionSettings
from spnas_detect.task import DetectionTask

ARCHITECTURE = "b@4_1-2"
TINY = {"image_size": (64, 64), "detector": {"neck_channels": 8}, "device": "cpu"}


def weights_of(folder, data, *, parent=None, **settings):
    """The weights of a search's candidate that was not trained at all: what it says of itself is the same."""
    task = DetectionTask(DetectionSettings.model_validate({**TINY, "data": data, **settings}))
    task.prepare(folder / "cache", lambda *_: None)
    file = folder / f"{len(list(folder.glob('*.safetensors')))}.safetensors"
    start = identity(Architecture.parse(ARCHITECTURE))
    task.evaluate(EvaluationRequest(0, start, parent, file, Fidelity(0), 1, split="test"), lambda _: None)
    return file


@pytest.fixture(scope="module")
def voc(tmp_path_factory):
    """A data set whose test and validation images are carved by a seed."""
    root = write_voc(tmp_path_factory.mktemp("data") / "voc", images=20)
    for name in ("val", "test"):
        (root / "ImageSets" / "Main" / f"{name}.txt").unlink()
    return root


@pytest.fixture(scope="module")
def weights(voc, tmp_path_factory):
    """Of a candidate that learnt from the training images of seed 0."""
    return weights_of(tmp_path_factory.mktemp("task"), f"voc:{voc}", metrics=("voc",))


@given(st.sets(st.binary(min_size=32, max_size=32), max_size=20), st.binary(min_size=32, max_size=32))
def test_a_set_of_images_survives_its_text(digests, other):
    seen = SeenImages.of(digests)
    assert SeenImages.from_text(seen.text()) == seen
    assert len(seen.text()) == 8 * len(seen)
    assert all(digest in seen for digest in digests)
    assert (other in seen) == (other[:KEPT_BYTES] in {digest[:KEPT_BYTES] for digest in digests})
    assert SeenImages.of(sorted(digests, reverse=True)).text() == seen.text()
    assert seen | SeenImages.of([other]) == SeenImages.of([*digests, other])


@pytest.mark.parametrize("text", ["x", "AAAA", "äöü", "AAAAAAA!"])
def test_a_text_that_is_no_set_is_refused(text):
    with pytest.raises(ValueError, match=r"."):
        SeenImages.from_text(text)


DESCRIPTION = DetectorDescription(
    "b@8_1-2-2",
    ("cat", "dog"),
    DetectorSettings(),
    (64, 48),
    trained_on=TrainedOn("voc:/x", 3, {"years": "07"}, "train", SeenImages.of([b"a" * 32]), ("voc",), "bfloat16"),
)


def test_a_description_keeps_its_training_and_older_ones_have_none():
    plain = json.loads(json.dumps(DESCRIPTION.metadata()))
    assert DetectorDescription.from_metadata(plain, "it") == DESCRIPTION
    del plain["trained_on"]
    assert DetectorDescription.from_metadata(plain, "it").trained_on is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": "x"}, "what it says of its training data cannot be read"),
        ({"images": None}, "what it says of its training data cannot be read"),
        ({"data": 3}, "it was trained on data 3"),
        ({"data_options": []}, "that makes no sense"),
        ({"precision": "int4"}, "precision 'int4'"),
        ({"data_seed": "x"}, "cannot be read"),
    ],
)
def test_a_memory_that_makes_no_sense_is_named(change, message):
    plain = DESCRIPTION.metadata()
    plain["trained_on"] = {**plain["trained_on"], **change}
    with pytest.raises(WeightsError, match=message):
        DetectorDescription.from_metadata(plain, "it")
    del plain["trained_on"]["precision"]
    with pytest.raises(WeightsError, match="no 'precision'" if change != {"images": "x"} else "cannot be read"):
        DetectorDescription.from_metadata(plain, "it")


def test_weights_are_scored_on_the_data_that_they_remember(weights, voc):
    remembered = read_description(weights).trained_on
    assert (remembered.data, remembered.data_seed, remembered.split) == (f"voc:{voc}", 0, "train")
    assert (remembered.metrics, remembered.precision) == (("voc",), "float32")
    assert len(remembered.images) == 13
    report = spnas_detect.evaluate(weights, device="cpu")
    assert (report.data, report.split, report.images) == (f"voc:{voc}", "test", 4)
    assert report.main == ("VOC50",)
    assert report.warnings == ()


@pytest.mark.parametrize("split", ["train", "validation", "test"])
@pytest.mark.parametrize("seed", [0, 1])
def test_images_that_were_trained_on_are_counted_wherever_they_lie(weights, voc, tmp_path, seed, split):
    moved = Path(shutil.copytree(voc, tmp_path / "moved"))
    for image in (moved / "JPEGImages").iterdir():
        image.touch()
    trained = {record.name for record in open_data(f"voc:{voc}", seed=0).splits["train"]}
    scored = {record.name for record in open_data(f"voc:{moved}", seed=seed).splits[split]}
    report = spnas_detect.evaluate(weights, f"voc:{moved}", data_seed=seed, split=split, device="cpu")
    common = len(trained & scored)
    assert (common > 0) == (seed == 1 or split == "train")
    expected = f"{common} of {len(scored)} {split} images are among those that the weights were trained on"
    drawn = f"the data has no test split of its own, so {len(scored)} of its 20 images were drawn for one"
    said = [expected] * (common > 0) + [drawn] * (split == "test")
    assert [warning.partition(":")[0] for warning in report.warnings] == said


def test_the_command_warns_and_json_has_it(weights):
    output = done("evaluate", weights, "--split", "train", "--device", "cpu")
    assert "warning: 13 of 13 train images are among those that the weights were trained on: the" in output
    document = json.loads(done("evaluate", weights, "--split", "train", "--device", "cpu", "--json"))
    assert len(document["warnings"]) == 1


def test_images_of_inherited_weights_are_remembered_too(weights, tmp_path):
    options = {"image_size": 64, "max_size": 32, "train": 5, "validation": 2, "test": 2}
    child = weights_of(tmp_path, "shapes", parent=weights, data_options=options)
    before, after = (read_description(file).trained_on for file in (weights, child))
    assert after.data == "shapes"
    assert len(after.images) == len(before.images) + 5
    assert before.images.digests < after.images.digests


def test_another_copy_of_a_training_says_the_same_to_the_letter(voc, tmp_path):
    texts = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        with safe_open(weights_of(tmp_path / name, f"voc:{voc}"), framework="pt") as file:
            texts.append(file.metadata()["spnas"])
    assert texts[0] == texts[1]


def test_the_folder_of_a_training_stands_for_its_weights_and_data(tmp_path):
    out = tmp_path / "out"
    settings = tiny_settings()
    result = train(settings, out)
    report = spnas_detect.evaluate(out, device="cpu")
    assert report.weights == TrainFolder(out).weights
    assert report.metrics["AP"] == pytest.approx(result.scores["AP"], nan_ok=True)
    assert report.warnings == ()
    output = done("evaluate", out, "--device", "cpu", "--split", "train")
    assert "warning: " in output
    (out / "weights.safetensors").unlink()
    assert f"the training in {out} has no weights yet: go on with spnas train --out {out} --resume" in refused(
        "evaluate", out
    )
    assert "holds no run and no training" in refused("evaluate", tmp_path)
