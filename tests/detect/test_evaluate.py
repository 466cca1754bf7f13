"""``spnas evaluate``: the search's own numbers, class by class, and where a detector fails."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from voc_folder import write_voc

import spnas_core
import spnas_detect
from spnas_core import Architecture
from spnas_core.errors import ConfigError, DataError, PluginError
from spnas_core.morphisms import identity
from spnas_core.plugins import plugin_manager, registry
from spnas_core.tasks import EvaluationRequest, Fidelity, ResolvedCandidate
from spnas_detect.data import open_data, streaming
from spnas_detect.data._base import READERS
from spnas_detect.data.conversion import LAYOUTS, convert
from spnas_detect.detectors import read_description
from spnas_detect.metrics import metric_factory
from spnas_detect.settings import DetectionSettings
from spnas_detect.task import DetectionTask
from spnas_detect.training.weights import load_weights, write_tensors
from spnas_search.cli.main import commands

ARCHITECTURE = "b@4_1-2-2"
OPTIONS = {"image_size": 96, "train": 16, "validation": 4, "test": 12, "max_size": 48, "min_size": 24}
SETTINGS = DetectionSettings(
    data="shapes", data_seed=5, data_options=OPTIONS, image_size=(64, 64), metrics=("coco", "voc"), device="cpu"
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Weights of a search's task, and the scores that it gave them on the test split."""
    folder = tmp_path_factory.mktemp("task")
    task = DetectionTask(SETTINGS)
    task.prepare(folder / "cache", lambda *_: None)
    request = EvaluationRequest(
        0, identity(Architecture.parse(ARCHITECTURE)), None, folder / "w.safetensors", Fidelity(2), 1, split="test"
    )
    return request.weights, task.evaluate(request, lambda _: None).metrics


@pytest.fixture
def run(trained):
    """A plugin that knows one run, as spnas-search does: its reference."""

    class Runs:
        @spnas_core.hookimpl
        def spnas_resolve_candidate(self, reference):
            settings = SETTINGS.model_dump(mode="json")
            return ResolvedCandidate(ARCHITECTURE, trained[0], settings) if reference == "runs/mine" else None

    plugin = Runs()
    plugin_manager().register(plugin)
    yield "runs/mine"
    plugin_manager().unregister(plugin)


@pytest.fixture
def forgetful(trained, tmp_path):
    """Weights from before files remembered their training."""
    said = read_description(trained[0]).metadata()
    del said["trained_on"]
    write_tensors(load_weights(trained[0]), tmp_path / "old.safetensors", said)
    return tmp_path / "old.safetensors"


def same(one, other):
    return one.keys() == other.keys() and all(
        one[name] == other[name] or (math.isnan(one[name]) and math.isnan(other[name])) for name in one
    )


def test_a_run_is_scored_on_its_own_data_as_the_search_scored_it(run, trained):
    report = spnas_detect.evaluate(run, device="cpu")
    assert same(report.metrics, trained[1])
    names = (spec.name for name in ("coco", "voc") for spec in metric_factory(name).specs)
    assert report.main == tuple(names)
    assert (report.data, report.split, report.images) == ("shapes", "test", 12)


def test_a_file_is_scored_on_the_data_that_is_named(trained):
    weights, expected = trained
    given_data = {"data": "shapes", "data_seed": 5, "data_options": OPTIONS, "device": "cpu"}
    assert same(spnas_detect.evaluate(weights, metrics=("coco", "voc"), **given_data).metrics, expected)
    assert same(spnas_detect.evaluate(weights, **given_data).metrics, expected)  # the weights know by what
    only = spnas_detect.evaluate(weights, split="validation", metrics=("coco",), **given_data)
    assert only.images == 4
    assert "VOC50" not in only.metrics
    assert not same(only.metrics, {name: expected[name] for name in only.metrics})
    other = spnas_detect.evaluate(weights, metrics=("coco", "voc"), **{**given_data, "data_seed": 6})
    assert not same(other.metrics, expected)


def test_every_image_is_decoded_once(run, monkeypatch):
    decoded = []
    read = streaming.read_for_canvas

    def counted(record, *arguments, **options):
        decoded.append(record.name)
        return read(record, *arguments, **options)

    monkeypatch.setattr(streaming, "read_for_canvas", counted)
    spnas_detect.evaluate(run, device="cpu")
    assert len(decoded) == len(set(decoded)) == 12


def test_the_class_table_counts_every_annotation_and_detection_once(run):
    report = spnas_detect.evaluate(run, device="cpu", score_threshold=0.0, worst=12)
    assert [result.name for result in report.classes] == list(report.description.classes)
    assert sum(result.boxes for result in report.classes) == sum(image.boxes for image in report.worst)
    assert sum(result.found for result in report.classes) == sum(image.found for image in report.worst) > 0
    assert sum(result.false for result in report.classes) == sum(image.false for image in report.worst) > 0
    assert all(result.images <= 12 and result.found <= result.boxes for result in report.classes)
    assert [image.f1 for image in report.worst] == sorted(image.f1 for image in report.worst)
    for result in report.classes:
        for metric in ("AP50", "VOC50"):
            assert result.scores[metric] == report.metrics[f"{metric}/{result.name}"]


def test_worst_images_are_drawn_beside_their_ground_truth(run, tmp_path):
    out = tmp_path / "out"
    report = spnas_detect.evaluate(run, device="cpu", out=out, worst=3, score_threshold=0.0)
    names = sorted(path.name for path in out.iterdir())
    assert names == ["evaluation.json", *(image.picture.name for image in report.worst)]
    for image in report.worst:
        with Image.open(image.picture) as picture:
            assert picture.width > 2 * 480  # two enlarged images of 96 px
    document = json.loads((out / "evaluation.json").read_text())
    assert document == json.loads(json.dumps(report.as_dict(), allow_nan=False))
    assert document["metrics"]["APl"] is None
    spnas_detect.evaluate(run, device="cpu", out=out, worst=1)
    assert len(list(out.glob("worst-*"))) == 1
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(next(out.glob("worst-01-*")))
    with pytest.raises(ConfigError, match="was not written by spnas"):
        spnas_detect.evaluate(run, device="cpu", out=out, worst=1)


def as_coco(folder, **options):
    """The shapes that the detector was trained on, with boxes of chosen classes only."""
    data = open_data("shapes", seed=5, **OPTIONS)
    convert(data, LAYOUTS["coco"], folder)
    file = folder / "annotations" / "instances_test.json"
    content = json.loads(file.read_text())
    change_classes(content, **options)
    file.write_text(json.dumps(content))
    return {"data": f"coco:{folder}", "device": "cpu", "metrics": ("coco",)}


def change_classes(content, without=(), renamed=()):
    ids = {category["id"] for category in content["categories"] if category["name"] in without}
    content["annotations"] = [one for one in content["annotations"] if one["category_id"] not in ids]
    for category in content["categories"]:
        category["name"] = dict(renamed).get(category["name"], category["name"])


def listed(folder, **splits):
    """Shapes in VOC layout with other lists of images; without any, all of them."""
    names = sorted(file.stem for file in (write_voc(folder, images=8) / "JPEGImages").iterdir())
    for file in (folder / "ImageSets" / "Main").iterdir():
        file.unlink()
    for split, wanted in splits.items():
        text = "\n".join(name for name in names if wanted in name)
        (folder / "ImageSets" / "Main" / f"{split}.txt").write_text(text + "\n")
    return {"data": f"voc:{folder}", "device": "cpu"}


def test_every_image_of_data_without_splits_is_scored_where_all_are_wanted(trained, tmp_path):
    one_list = listed(tmp_path / "one", train="")
    part = spnas_detect.evaluate(trained[0], **one_list)
    assert part.images < 16
    hint = (
        f"no test split of its own, so {part.images} of its 16 images were drawn for one: --split all scores them all"
    )
    assert [warning for warning in part.warnings if hint in warning]
    whole = spnas_detect.evaluate(trained[0], **one_list, split="all")
    assert (whole.images, whole.split, whole.warnings) == (16, "all", ())
    assert not [note for note in whole.notes if "carved" in note]
    tests = spnas_detect.evaluate(trained[0], **listed(tmp_path / "two", train="train", test=""))
    assert same(whole.metrics, tests.metrics)
    assert tests.warnings == ()
    result = CliRunner().invoke(commands, ["evaluate", str(trained[0]), "--split", "all", "--data", one_list["data"]])
    assert f"all 16 images of {one_list['data']}" in " ".join(result.output.split())


def test_where_tests_are_validations_every_image_is_scored_once(trained, tmp_path):
    both = listed(tmp_path / "both", train="train", val="val", test="val")
    assert spnas_detect.evaluate(trained[0], **both).split == "test = validation"
    assert spnas_detect.evaluate(trained[0], **both, split="all").images == 12


def test_classes_in_another_order_are_matched_by_name(trained, tmp_path):
    given_data = as_coco(tmp_path / "data")
    expected = spnas_detect.evaluate(trained[0], **given_data)
    names = ["triangle", "ring", "square", "disc"]
    report = spnas_detect.evaluate(trained[0], **given_data, data_options={"classes": names})
    assert same(report.metrics, expected.metrics)
    assert report.classes == expected.classes
    assert report.notes == expected.notes


def test_a_class_that_the_data_lacks_has_no_score(trained, tmp_path):
    given_data = as_coco(tmp_path / "data", without=("disc",))
    for split in ("train", "val"):  # the class stands in no file at all
        file = tmp_path / "data" / "annotations" / f"instances_{split}.json"
        content = json.loads(file.read_text())
        change_classes(content, without=("disc",))
        file.write_text(json.dumps(content))
    report = spnas_detect.evaluate(trained[0], **given_data)
    assert [result.name for result in report.classes] == ["square", "disc", "triangle", "ring"]
    assert [result.boxes for result in report.classes].index(0) == 1
    assert math.isnan(report.metrics["AP/disc"])
    assert not math.isnan(report.metrics["AP"])
    assert "1 class(es) of the weights have no score, since the data lacks them: 'disc'" in report.notes


def test_boxes_of_a_class_that_the_weights_lack_are_refused(trained, tmp_path):
    given_data = as_coco(tmp_path / "data", renamed={"disc": "disk", "ring": "hoop"}.items())
    message = (
        r"classes that .* was not trained on: 'disk' \(\d+ box\(es\)\); did you mean 'disc'\?, 'hoop' \(\d+ box\(es\)\)"
    )
    with pytest.raises(DataError, match=message):
        spnas_detect.evaluate(trained[0], **given_data)


def test_classes_that_have_boxes_in_other_splits_alone_do_not_matter(trained, tmp_path):
    given_data = as_coco(tmp_path / "data")
    expected = spnas_detect.evaluate(trained[0], **given_data)
    file = tmp_path / "data" / "annotations" / "instances_train.json"
    content = json.loads(file.read_text())
    content["categories"].append({"id": 9, "name": "owl"})
    content["annotations"][0]["category_id"] = 9
    file.write_text(json.dumps(content))
    report = spnas_detect.evaluate(trained[0], **given_data)
    assert same(report.metrics, expected.metrics)
    assert "1 class(es) of the data that the weights lack have no box here: 'owl'" in report.notes
    with pytest.raises(DataError, match=r"the train split of coco:.* 'owl' \(1 box\(es\)\)"):
        spnas_detect.evaluate(trained[0], **given_data, split="train")


def test_a_metric_that_the_data_does_not_suit_is_refused_before_any_image_is_detected(run, monkeypatch):
    def check(data):
        raise ConfigError(f"{data.spec} has no pedestrian")

    monkeypatch.setitem(registry("metrics").items, "picky", replace(metric_factory("coco"), check=check))
    monkeypatch.setattr("spnas_detect.inference.evaluation.drop_unreadable", None)
    with pytest.raises(ConfigError, match="shapes has no pedestrian"):
        spnas_detect.evaluate(run, device="cpu", metrics=["coco", "picky"])


def test_what_cannot_be_scored_is_refused(forgetful, run, tmp_path):
    weights = forgetful
    empty = {"data": "shapes", "data_options": {**OPTIONS, "objects": (0, 1), "test": 1}}
    for arguments, settings, kind, message in (
        ((weights,), {}, ConfigError, "name it with --data"),
        ((run, "shaps"), {}, DataError, "did you mean 'shapes'"),
        ((run,), {"split": "tset"}, DataError, "did you mean 'test'"),
        ((run,), {"metrics": ["cocoa"]}, PluginError, "did you mean 'coco'"),
        ((run,), {"score_threshold": -0.1}, ConfigError, "must be in 0…1"),
        ((run,), {"batch_size": 0}, ConfigError, "must be at least 1"),
        ((run,), {"device": "nowhere"}, ConfigError, "cannot be used"),
        ((weights,), {**empty, "data_seed": 4}, DataError, "has no box to be found among its 1 images"),
    ):
        with pytest.raises(kind, match=message):
            spnas_detect.evaluate(*arguments, **settings)
    (tmp_path / "evaluation.json").write_text("{}")
    with pytest.raises(ConfigError, match="was not written by spnas"):
        spnas_detect.evaluate(run, out=tmp_path)


def invoke(*arguments):
    return CliRunner().invoke(commands, ["evaluate", *map(str, arguments), "--device", "cpu"])


def test_the_command_prints_tables_or_json(run, trained, tmp_path):
    result = invoke(run, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    for text in ("AP50", "VOC50", "triangle", "found", "worst images", f"{trained[1]['AP50']:.3f}", "12 images"):
        assert text in result.output
    options = [part for key, value in OPTIONS.items() for part in ("--data-option", f"{key}={value}")]
    given_data = trained[0], "--data", "shapes", "--data-seed", 5, *options, "--metrics", "voc,coco", "--json"
    document = json.loads(invoke(*given_data, "--log-json", tmp_path / "log").stdout)
    *progressed, last = map(json.loads, (tmp_path / "log").read_text().splitlines())
    assert (progressed[-1]["done"], last["event"]) == (progressed[-1]["total"], "evaluated")
    assert document.items() <= last.items()
    assert document["metrics"]["VOC50"] == trained[1]["VOC50"]
    assert document["info"]["split"] == "test"
    assert [row["name"] for row in document["classes"]] == ["square", "disc", "triangle", "ring"]


def test_help_names_every_kind_of_data_and_says_whose_the_classes_are():
    said = " ".join(CliRunner().invoke(commands, ["evaluate", "--help"]).output.split())
    assert [kind for kind in READERS if kind not in said.partition("--data SPEC")[2].partition("--split")[0]] == []
    assert "are the detector's where their names are, in whatever order" in said
    assert "same order" not in said


def test_a_mistake_is_one_line_and_exit_code_2(run, forgetful, tmp_path):
    for given_arguments, message in (
        ((forgetful,), "name it with --data"),
        ((run, "--data-option", "test"), "must look like key=value"),
        ((run, "--data-option", "tset=3"), "did you mean 'test'"),
        ((run, "--data-option", "seed=3"), "shapes data has no option 'seed'"),
        ((run, "--metrics", ","), "metrics names none"),
        ((tmp_path / "none",), "does not exist"),
    ):
        result = invoke(*given_arguments)
        assert result.exit_code == 2
        errors = [line for line in result.output.splitlines() if line.startswith("error: ")]
        assert len(errors) == 1
        assert message in errors[0]
        assert "Traceback" not in result.output


def test_images_that_several_splits_have_are_scored_once_where_all_are_wanted(trained, tmp_path):
    shared = listed(tmp_path / "shared", train="train", val="train", test="test")
    apart = listed(tmp_path / "apart", train="train", val="val", test="test")
    found, whole = (spnas_detect.evaluate(trained[0], **given, split="all") for given in (shared, apart))
    assert found.images < whole.images
    assert [note for note in found.notes if f"{found.images - 4} images are in several splits" in note]
