"""``spnas predict``: what it finds, what it writes, and what it leaves alone."""

import json
import os
from dataclasses import replace

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from pycocotools.coco import COCO
from safetensors.torch import load_file, save_file
from same_detections import assert_same_detections

import spnas_core
import spnas_detect
from spnas_core import Architecture
from spnas_core.errors import ConfigError, DataError, WeightsError
from spnas_core.morphisms import identity
from spnas_core.plugins import plugin_manager
from spnas_core.tasks import ResolvedCandidate
from spnas_detect.data import ImageRecord, StreamedSplit, read_image
from spnas_detect.detectors import DetectorDescription, DetectorSettings, build_detector
from spnas_detect.drawing import is_our_picture
from spnas_detect.training.loop import score
from spnas_detect.training.weights import save_weights
from spnas_search.cli.main import commands

SETTINGS = DetectorSettings(neck_channels=8, head_channels=16, rpn_proposals=20, pooled_size=3, max_detections=6)
DESCRIPTION = DetectorDescription("b@4_1-2-2", ("cat", "dog"), SETTINGS, (64, 48))


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """An untrained detector: it finds something everywhere."""
    generator = torch.Generator().manual_seed(3)
    rewrite = identity(Architecture.parse(DESCRIPTION.architecture))
    module, _, _ = build_detector(rewrite, len(DESCRIPTION.classes), SETTINGS, {}, generator=generator)
    for name, parameter in module.named_parameters():
        if "cls_score" in name or "bbox_pred" in name:
            parameter.data.normal_(std=0.2, generator=generator)
    path = tmp_path_factory.mktemp("weights") / "mine.safetensors"
    save_weights(module, path, DESCRIPTION.metadata())
    return path


def make_image(path, width=90, height=70, *, seed=0, mode="RGB", **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
    Image.fromarray(coarse).resize((width, height)).convert(mode).save(path, **options)
    return path


@pytest.fixture
def photos(tmp_path):
    """Five images of several sizes and formats."""
    folder = tmp_path / "photos"
    make_image(folder / "a.jpg", 90, 70, seed=1)
    make_image(folder / "b.png", 30, 200, seed=2)
    make_image(folder / "c.PNG", 64, 48, seed=3, mode="L")
    make_image(folder / "d.bmp", 300, 40, seed=4)
    make_image(folder / "e.gif", 50, 50, seed=5, mode="P")
    (folder / "notes.txt").write_text("no image")
    return folder


def content(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def threshold(weights, photos):
    """A score that half of the detections reach."""
    found = spnas_detect.predict(weights, photos, score_threshold=0.0, device="cpu")
    return float(np.median(np.concatenate([image.scores for image in found.images])))


class Recorder:
    """A metric that keeps what it is given."""

    def reset(self):
        self.predictions = []

    def process(self, predictions, targets):
        self.predictions += predictions

    def evaluate(self):
        return {}


def test_predictions_are_those_of_the_scoring_path(weights, photos):
    found = spnas_detect.predict(weights, photos, score_threshold=0.0, device="cpu", batch_size=3)
    none = np.zeros((0, 4), np.float32), np.zeros(0, np.int64), np.zeros(0, np.bool_)
    records = [
        ImageRecord(image.image.name, lambda path=image.image: read_image(path), image.width, image.height, *none)
        for image in found.images
    ]
    detector, description = spnas_detect.load_detector(weights, "cpu")
    recorder = Recorder()
    score(
        detector, StreamedSplit(records, description.image_size), [recorder], batch_size=3, device=torch.device("cpu")
    )
    assert len(found.images) == len(recorder.predictions) == 5
    for image, expected in zip(found.images, recorder.predictions, strict=True):
        assert len(image.scores) > 0
        inside = (expected["boxes"][:, 2:] > expected["boxes"][:, :2]).all(1)
        for name in ("boxes", "scores", "labels"):
            np.testing.assert_array_equal(getattr(image, name), expected[name][inside].numpy())


def test_boxes_are_in_pixels_of_the_image_and_inside_it(weights, photos):
    found = spnas_detect.predict(weights, photos, score_threshold=0.0, device="cpu")
    sizes = {image.image.name: (image.width, image.height) for image in found.images}
    assert sizes == {"a.jpg": (90, 70), "b.png": (30, 200), "c.PNG": (64, 48), "d.bmp": (300, 40), "e.gif": (50, 50)}
    for image in found.images:
        assert (image.boxes[:, :2] >= 0).all()
        assert (image.boxes[:, 2:] <= [image.width, image.height]).all()
        assert (image.boxes[:, :2] < image.boxes[:, 2:]).all()
    # canvas pixels would end at 64x48
    assert max(image.boxes[:, 2].max(initial=0) for image in found.images) > 200
    assert max(image.boxes[:, 3].max(initial=0) for image in found.images) > 100


def test_the_threshold_keeps_what_reaches_it_best_first(weights, photos, threshold):
    every = spnas_detect.predict(weights, photos, score_threshold=0.0, device="cpu")
    some = spnas_detect.predict(weights, photos, score_threshold=threshold, device="cpu")
    assert 0 < sum(len(image.scores) for image in some.images) < sum(len(image.scores) for image in every.images)
    for one, other in zip(some.images, every.images, strict=True):
        kept = other.scores >= threshold
        np.testing.assert_array_equal(one.scores, other.scores[kept])
        np.testing.assert_array_equal(one.boxes, other.boxes[kept])
        assert (np.diff(one.scores) <= 0).all()


def test_the_batch_size_changes_nothing_but_the_last_bits(weights, photos):
    alone, together = (
        spnas_detect.predict(weights, photos, score_threshold=0.0, device="cpu", batch_size=size) for size in (1, 5)
    )
    one, other = (
        [{n: torch.from_numpy(getattr(image, n)) for n in ("boxes", "scores", "labels")} for image in found.images]
        for found in (alone, together)
    )
    settings = SETTINGS.model_copy(update={"score_threshold": 0.0})
    compared = assert_same_detections(one, other, settings, atol_boxes=1e-2, atol_scores=0.0, rtol_scores=1e-4)
    assert compared.shared > 25


def test_every_image_gets_a_picture_of_its_name_and_stays_as_it_was(weights, photos, threshold, tmp_path):
    before = content(photos)
    found = spnas_detect.predict(weights, photos, tmp_path / "out", score_threshold=threshold, device="cpu")
    assert content(photos) == before
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["a.jpg", "b.png", "c.PNG", "d.png", "e.png", "predictions.json"]
    for image in found.images:
        with Image.open(image.picture) as picture:
            assert picture.size[0] % image.width == picture.size[1] % image.height == 0
            drawn = np.asarray(picture.convert("RGB"), int)
        with Image.open(image.image) as original:
            plain = np.asarray(original.convert("RGB").resize(drawn.shape[1::-1], Image.Resampling.BICUBIC), int)
        changed = (np.abs(drawn - plain).max(-1) > 40).mean()
        assert (changed > 0.01) == (len(image.scores) > 0)


def test_the_document_is_coco_that_pycocotools_reads(weights, photos, threshold, tmp_path):
    found = spnas_detect.predict(weights, photos, tmp_path / "out", score_threshold=threshold, device="cpu")
    document = json.loads((tmp_path / "out" / "predictions.json").read_text())
    coco = COCO(str(tmp_path / "out" / "predictions.json"))
    results = coco.loadRes(document["annotations"])
    assert len(results.anns) == sum(len(image.scores) for image in found.images)
    for number, image in enumerate(found.images, 1):
        assert coco.imgs[number]["file_name"] == str(image.image)
        annotations = coco.imgToAnns[number]
        assert [annotation["score"] for annotation in annotations] == pytest.approx(image.scores.tolist())
        for annotation, box, label in zip(annotations, image.boxes, image.labels, strict=True):
            x, y, width, height = annotation["bbox"]
            assert (x, y, x + width, y + height) == pytest.approx(box.tolist(), abs=1e-4)
            assert annotation["category"] == coco.cats[label]["name"] == DESCRIPTION.classes[label - 1]


def test_images_of_one_name_from_two_folders_get_pictures_of_their_own(weights, tmp_path):
    given = [
        make_image(tmp_path / "in" / "one" / "x.jpg", seed=1),
        make_image(tmp_path / "in" / "two" / "deep" / "x.jpg", seed=2),
        make_image(tmp_path / "in" / "one" / "y.bmp", seed=3),
        make_image(tmp_path / "in" / "one" / "Y.png", seed=4),
        make_image(tmp_path / "in" / "one-x.jpg", seed=5),
    ]
    found = spnas_detect.predict(weights, given, tmp_path / "out", device="cpu")
    names = [image.picture.name for image in found.images]
    assert names[:2] == ["one-x.jpg", "two-deep-x.jpg"]
    assert len({name.casefold() for name in names}) == 5
    assert {path.name for path in (tmp_path / "out").iterdir()} == {*names, "predictions.json"}


@pytest.mark.parametrize("letter", ["a", "é", "車"])
def test_pictures_of_images_with_the_longest_names_can_be_written(weights, tmp_path, letter):
    """Also where a folder or a number tells two of one name apart."""
    stem = letter * (250 // len(letter.encode()))
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        Image.new("RGB", (64, 64), "white").save(tmp_path / folder / f"{stem}.png")
    report = spnas_detect.predict(weights, [tmp_path / "one", tmp_path / "two"], out=tmp_path / "out", device="cpu")
    names = sorted(path.name for path in (tmp_path / "out").iterdir() if path.suffix == ".png")
    assert len(names) == 2, report
    assert all(len(name.encode()) <= 255 for name in names)


def test_an_input_is_never_overwritten(weights, photos, tmp_path):
    before = content(photos)
    with pytest.raises(ConfigError, match=r"would overwrite the image .*a\.jpg: choose another --out"):
        spnas_detect.predict(weights, photos, photos, device="cpu")
    out = tmp_path / "out"
    out.mkdir()
    (out / "a.jpg").symlink_to(photos / "a.jpg")
    os.link(photos / "b.png", out / "b.png")
    for name in ("a.jpg", "b.png"):
        with pytest.raises(ConfigError, match="would overwrite the image"):
            spnas_detect.predict(weights, photos / name, out, device="cpu")
    assert content(photos) == before
    assert not (out / "predictions.json").exists()


def test_files_of_others_are_not_overwritten_but_earlier_pictures_are(weights, photos, tmp_path):
    out = tmp_path / "out"
    make_image(out / "a.jpg", seed=9)
    kept = content(out)
    with pytest.raises(ConfigError, match="was not written by spnas"):
        spnas_detect.predict(weights, photos / "a.jpg", out, device="cpu")
    assert content(out) == kept
    spnas_detect.predict(weights, photos / "b.png", out, device="cpu")
    spnas_detect.predict(weights, photos / "c.PNG", out, device="cpu")
    spnas_detect.predict(weights, [photos / "b.png", photos / "c.PNG"], out, device="cpu")
    assert is_our_picture(out / "b.png")
    (out / "predictions.json").write_text('{"images": []}')
    with pytest.raises(ConfigError, match=r"predictions\.json exists and was not written"):
        spnas_detect.predict(weights, photos / "b.png", out, device="cpu")


def test_an_exif_rotation_is_applied_as_viewers_do(weights, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees
    noted = make_image(tmp_path / "noted.png", 90, 70, exif=exif)
    turned = tmp_path / "turned.png"
    with Image.open(noted) as image:
        image.transpose(Image.Transpose.ROTATE_270).save(turned)
    found = spnas_detect.predict(weights, [noted, turned], tmp_path / "out", score_threshold=0.0, device="cpu")
    one, other = found.images
    assert (one.width, one.height) == (other.width, other.height) == (70, 90)
    assert len(one.boxes)
    np.testing.assert_array_equal(one.boxes, other.boxes)
    with Image.open(one.picture) as picture:
        assert picture.width < picture.height
        assert 0x0112 not in picture.getexif()


def test_the_limit_on_pixels_is_named_for_each_image_beyond_it(weights, photos):
    found = spnas_detect.predict(weights, [photos / "a.jpg", photos / "b.png"], device="cpu", max_pixels=90 * 70 - 1)
    assert [image.image.name for image in found.images] == ["b.png"]
    (reason,) = found.failed.values()
    assert "a.jpg has 90x70 = 6300 pixels, more than max_pixels = 6299" in reason
    with pytest.raises(ConfigError, match="max_pixels 0 is no number of pixels"):
        spnas_detect.predict(weights, photos, device="cpu", max_pixels=0)


def test_files_folders_and_patterns_name_each_image_once(weights, photos):
    def names(*given):
        return [image.image.name for image in spnas_detect.predict(weights, given, device="cpu").images]

    assert names(photos) == ["a.jpg", "b.png", "c.PNG", "d.bmp", "e.gif"]
    assert names(photos / "e.gif", photos, photos / "." / "a.jpg") == ["e.gif", "a.jpg", "b.png", "c.PNG", "d.bmp"]
    make_image(photos / "deep" / "er" / "f.jpg")
    assert names(str(photos / "**" / "*.jpg")) == ["a.jpg", "f.jpg"]
    assert names(f"{photos}/[ab].*") == ["a.jpg", "b.png"]
    bracket = make_image(photos / "deep" / "[1].jpg")
    assert names(bracket) == ["[1].jpg"]


def test_images_that_are_not_there_are_named_before_anything_is_done(weights, photos, tmp_path):
    (tmp_path / "empty").mkdir()
    for given, message in (
        (tmp_path / "none.jpg", r"none\.jpg does not exist"),
        (tmp_path / "empty", r"empty has no image in it; for those of its folders write"),
        (str(photos / "*.tiff"), r"no image matches .*\*\.tiff"),
        ([], "there is no image"),
    ):
        with pytest.raises(DataError, match=message):
            spnas_detect.predict(weights, given, tmp_path / "out", device="cpu")
    for setting in ({"score_threshold": 1.5}, {"batch_size": 0}):
        with pytest.raises(ConfigError):
            spnas_detect.predict(weights, photos, tmp_path / "out", device="cpu", **setting)
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"cannot write into .*file"):
        spnas_detect.predict(weights, photos, tmp_path / "file", device="cpu")
    assert not (tmp_path / "out").exists()


@pytest.fixture
def candidates():
    """A plugin that knows runs by name, as spnas-search does."""
    known = {}

    class Runs:
        @spnas_core.hookimpl
        def spnas_resolve_candidate(self, reference):
            return known.get(reference)

    plugin = Runs()
    plugin_manager().register(plugin)
    yield known
    plugin_manager().unregister(plugin)


def test_a_run_stands_for_its_candidates_weights(weights, photos, candidates):
    candidates["runs/mine:3"] = ResolvedCandidate("b@4_1-2-2", weights)
    candidates["runs/mine:4"] = ResolvedCandidate("b@4_1-2-2", None)
    candidates["runs/mine:6"] = ResolvedCandidate("b@4_1-2-2", weights, checksum="0" * 64)
    assert spnas_detect.predict("runs/mine:3", photos / "a.jpg", device="cpu").weights == weights
    with pytest.raises(WeightsError, match="the weights of runs/mine:4 were not kept"):
        spnas_detect.predict("runs/mine:4", photos / "a.jpg", device="cpu")
    with pytest.raises(WeightsError, match=f"{weights} was altered since the search wrote it"):
        spnas_detect.predict("runs/mine:6", photos / "a.jpg", device="cpu")
    with pytest.raises(WeightsError, match="runs/mine:5 does not exist: name a weights file, the folder"):
        spnas_detect.predict("runs/mine:5", photos / "a.jpg", device="cpu")
    with pytest.raises(WeightsError, match="holds no run"):
        spnas_detect.predict(photos, photos / "a.jpg", device="cpu")


def test_a_task_that_trains_nothing_is_named(photos, tmp_path, candidates):
    (tmp_path / "0.safetensors").touch()
    for number, file in enumerate((tmp_path / "0.safetensors", None)):
        candidates[f"runs/table:{number}"] = ResolvedCandidate("b@4_1-2-2", file, {"name": "replay"})
        with pytest.raises(WeightsError, match=f"runs/table:{number} is of a search with the task 'replay', which"):
            spnas_detect.predict(f"runs/table:{number}", photos / "a.jpg", device="cpu")


def invoke(*arguments):
    return CliRunner().invoke(commands, ["predict", *map(str, arguments), "--device", "cpu"])


def test_the_command_prints_a_table_or_the_document(weights, photos, threshold, tmp_path):
    given = weights, photos, "--out", tmp_path / "out", "--score-threshold", threshold
    result = invoke(*given)
    assert result.exit_code == 0, result.output
    assert "in 5 images" in result.output
    assert all(name in result.output for name in DESCRIPTION.classes)
    document = json.loads(invoke(*given, "--json").stdout)
    assert document == json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert f"{len(document['annotations'])} objects" in result.output
    assert "Example: spnas predict" in invoke("--help").output


def test_unreadable_images_are_all_reported_after_the_others_are_done(weights, photos, tmp_path):
    (photos / "a.jpg").write_bytes((photos / "a.jpg").read_bytes()[:300])
    (photos / "bad.png").write_text("no image")
    result = invoke(weights, photos, "--out", tmp_path / "out", "--json")
    assert result.exit_code == 2
    errors = result.stderr.splitlines()
    assert len(errors) == 2
    assert all(
        line.startswith(f"error: image {photos / name} does not decode")
        for line, name in zip(errors, ("a.jpg", "bad.png"), strict=True)
    )
    document = json.loads(result.stdout)
    assert [image["picture"] for image in document["images"]] == ["b.png", "c.PNG", "d.png", "e.png"]
    assert [failed["file_name"] for failed in document["failed"]] == [str(photos / n) for n in ("a.jpg", "bad.png")]
    assert not (tmp_path / "out" / "a.jpg").exists()


def test_names_are_shown_drawn_and_written_whatever_is_in_them(weights, tmp_path):
    names = ("car [front] \x1b[31m[/b]", "two\nlines")
    description = replace(DESCRIPTION, classes=names)
    odd = tmp_path / "odd.safetensors"
    save_file(load_file(weights), odd, metadata={"spnas": json.dumps(description.metadata())})
    image = make_image(tmp_path / os.fsdecode(b"caf\xe9 [/b]") / "a.png")
    broken = image.with_name("b [bold].png")
    broken.write_text("no image")
    given = odd, image, broken, "--out", tmp_path / "out", "--score-threshold", 0
    result = invoke(*given)
    assert result.exit_code == 2, result.exception
    assert r"car [front] \x1b[31m[/b]" in result.stdout
    assert r"two\nlines" in result.stdout
    assert r"caf\udce9 [/b]/b [bold].png" in result.stderr
    document = json.loads(invoke(*given, "--json").stdout)
    assert document == json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert [category["name"] for category in document["categories"]] == list(names)
    assert document["images"][0]["file_name"] == str(image)


def test_a_mistake_is_one_line_and_exit_code_2(weights, photos, tmp_path):
    (tmp_path / "foreign.pth").write_text("weights of another kind")
    for given in ((tmp_path / "foreign.pth", photos), (weights, tmp_path / "none.jpg"), (tmp_path / "none", photos)):
        result = invoke(*given, "--out", tmp_path / "out")
        assert result.exit_code == 2
        assert len([line for line in result.output.splitlines() if line.startswith("error: ")]) == 1
        assert "Traceback" not in result.output
    assert not (tmp_path / "out").exists()
