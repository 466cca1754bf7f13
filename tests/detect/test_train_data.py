"""Trainings and comparisons know their data again wherever it lies, and say what a detector cannot find in it."""

import json
import re
import shutil
from dataclasses import asdict

import pytest
from click.testing import CliRunner
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tiny_training import tiny_settings
from voc_folder import write_voc

from spnas_core.errors import ConfigError, WeightsError
from spnas_detect.data import open_cache
from spnas_detect.jobs import TrainFolder, train
from spnas_detect.jobs.comparison import compare
from spnas_detect.jobs.folder import read_scores
from spnas_detect.preparation import data_notes, prepare_data
from spnas_detect.task import DetectionTask
from spnas_detect.training import read_state
from spnas_search.cli.main import commands


@pytest.fixture
def voc(tmp_path):
    return write_voc(tmp_path / "voc", images=8)


def settings(voc, **changes):
    return tiny_settings(data=f"voc:{voc}", data_options={}, epochs=1, **changes)


def moved(voc, name="moved"):
    target = voc.parent / name
    shutil.copytree(voc, target)
    shutil.rmtree(voc)
    return target


def move_a_box(voc):
    file = voc / "Annotations" / "train000.xml"
    file.write_text(re.sub(r"<xmin>\d+</xmin>", "<xmin>1</xmin>", file.read_text(), count=1))


def add_a_class(voc):
    file = voc / "Annotations" / "train000.xml"
    file.write_text(re.sub("<name>[a-z]+</name>", "<name>hexagon</name>", file.read_text(), count=1))


def drop_an_image(voc):
    (voc / "ImageSets" / "Main" / "test.txt").write_text("test000\n")


CHANGES = [move_a_box, add_a_class, drop_an_image]


@pytest.mark.parametrize("change", CHANGES)
def test_a_training_does_not_go_on_with_other_data(voc, tmp_path, change):
    out = tmp_path / "out"
    train(settings(voc), out)
    before = {path.name: path.read_bytes() for path in (out / "train.toml", out / "checkpoint/checkpoint.safetensors")}
    change(voc)
    with pytest.raises(
        ConfigError, match=f"the data of {out} has changed: voc:{voc} does not hold what was learnt"
    ) as e:
        train(settings(voc), out, resume=True)
    assert "restore it, say where that data lies with --data, or choose another --out" in str(e.value)
    for path in (out / "train.toml", out / "checkpoint/checkpoint.safetensors"):
        assert path.read_bytes() == before[path.name]


def test_a_training_goes_on_where_the_same_data_lies_now(voc, tmp_path):
    out = tmp_path / "out"
    scores = train(settings(voc), out).scores
    there = moved(voc)
    assert train(settings(there), out, resume=True).scores == pytest.approx(scores, nan_ok=True)
    assert TrainFolder(out).read_settings().data == f"voc:{there}"
    add_a_class(there)
    with pytest.raises(ConfigError, match="has changed"):
        train(settings(moved(there, "again")), out, resume=True)
    assert TrainFolder(out).read_settings().data == f"voc:{there}"


def test_a_training_of_another_reading_of_the_data_is_still_refused(voc, tmp_path):
    out = tmp_path / "out"
    train(settings(voc), out)
    with pytest.raises(ConfigError, match="has data_seed = 0, not 1"):
        train(settings(voc, data_seed=1), out, resume=True)


def test_the_checkpoint_knows_the_content_and_an_older_one_goes_on(voc, tmp_path):
    out = tmp_path / "out"
    train(settings(voc), out)
    (cache,) = (out / "cache").iterdir()
    file = out / "checkpoint" / "checkpoint.safetensors"
    assert read_state(file.parent).data == open_cache(cache).content
    with safe_open(file, framework="pt") as opened:
        state = json.loads(opened.metadata()["spnas"])
    assert state == asdict(read_state(file.parent))
    del state["data"]
    save_file(load_file(file), file, metadata={"spnas": json.dumps(state)})
    move_a_box(voc)
    train(settings(voc), out, resume=True)


def test_a_torn_checkpoint_is_refused_clearly_and_without_one_the_training_begins_anew(voc, tmp_path):
    out = tmp_path / "out"
    train(settings(voc), out)
    file, scores = out / "checkpoint" / "checkpoint.safetensors", read_scores(out)
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(WeightsError, match="no complete checkpoint"):
        train(settings(voc), out, resume=True)
    file.unlink()
    with pytest.raises(WeightsError, match="no checkpoint in"):
        read_state(file.parent)
    train(settings(voc), out, resume=True)
    assert read_scores(out) == scores


def two(voc):
    return [settings(voc, architecture=code) for code in ("b@8_1-2", "b@8_11-2")]


def unfinish(out):
    for name in ("scores.json", "weights.safetensors"):
        (out / "2-0" / name).unlink()


@pytest.mark.parametrize("change", CHANGES)
def test_a_comparison_does_not_go_on_with_other_data(voc, tmp_path, change):
    out = tmp_path / "out"
    compare(two(voc), 1, out)
    unfinish(out)
    change(voc)
    with pytest.raises(ConfigError, match=f"the data of {out} has changed: voc:{voc} does not"):
        compare(two(voc), 1, out)
    with pytest.raises(ConfigError, match=f"the data of {out} has changed"):  # nor with more seeds
        compare(two(voc), 2, out)


def test_a_comparison_goes_on_where_the_same_data_lies_now(voc, tmp_path):
    out = tmp_path / "out"
    whole = compare(two(voc), 1, out).as_dict()
    unfinish(out)
    there = moved(voc)
    assert compare(two(there), 1, out).as_dict() == whole
    assert json.loads((out / "plan.json").read_text())["data"] == f"voc:{there}"
    assert TrainFolder(out / "2-0").read_settings().data == f"voc:{there}"
    add_a_class(there)
    assert compare(two(there), 1, out).as_dict() == whole  # it is finished: the data is not looked at
    with pytest.raises(ConfigError, match="has changed"):  # but where it is said to lie elsewhere
        compare(two(moved(there, "again")), 1, out)


def test_a_comparison_that_was_killed_while_it_read_the_data_goes_on(voc, tmp_path):
    class Killed(BaseException):
        pass

    class Monitor:
        def reading(self, *_):
            raise Killed

    out = tmp_path / "out"
    with pytest.raises(Killed):
        compare(two(voc), 1, out, monitor=Monitor())
    assert json.loads((out / "plan.json").read_text())["content"] == ""
    move_a_box(voc)
    assert compare(two(voc), 1, out).as_dict()["seeds"] == [0]


def test_a_plan_of_before_goes_on(voc, tmp_path):
    out = tmp_path / "out"
    compare(two(voc), 1, out)
    plan = json.loads((out / "plan.json").read_text())
    old = {**{key: plan[key] for key in plan if key not in ("data", "content")}, "1.data": "voc:x", "2.data": "voc:x"}
    (out / "plan.json").write_text(json.dumps(old))
    compare(two(voc), 1, out)
    assert json.loads((out / "plan.json").read_text())["content"] == plan["content"]


def test_a_setting_that_there_was_not_yet_has_its_default_in_a_plan(voc, tmp_path):
    out = tmp_path / "out"
    compare(two(voc), 1, out)
    plan = json.loads((out / "plan.json").read_text())
    old = {key: value for key, value in plan.items() if not key.endswith("reduced_decoding")}
    assert len(old) == len(plan) - 2
    (out / "plan.json").write_text(json.dumps(old))
    compare(two(voc), 1, out)
    with pytest.raises(ConfigError, match=r"has 1.reduced_decoding = False, not True"):
        compare([one.model_copy(update={"reduced_decoding": True}) for one in two(voc)], 1, out)
    with pytest.raises(ConfigError, match="is of b@8_1-2, b@8_11-2, not of b@8_1-2, b@8_11-2, b@8_1-2"):
        compare([*two(voc), two(voc)[0]], 1, out)


def test_more_objects_than_detections_are_noted_by_task_and_training(voc, tmp_path):
    chosen = settings(voc, detector={"max_detections": 1})
    data = prepare_data(chosen, tmp_path / "cache", lambda *_: None)
    counts = [len(data.split("test").labels(index)) for index in range(4)]
    assert data.split("test").objects() == counts
    notes = [note for note in data_notes(chosen, data) if "max_detections" in note]
    assert [note.split()[0] for note in notes] == ["validation", "test"]
    recall = 100 * sum(min(count, 1) for count in counts) / sum(counts)
    assert f"up to {max(counts)} objects" in notes[1]
    assert f"more than max_detections = 1: recall cannot exceed {recall:.1f} %: set detector.max_detections" in notes[1]
    assert set(notes) <= set(DetectionTask(chosen).prepare(tmp_path / "cache", lambda *_: None))
    given = ["b@8_1-2", "--data", f"voc:{voc}", "--image-size", "64x64", "--epochs", "1"]
    given += ["--set", "detector.max_detections=1", "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(commands, ["train", *given])
    assert result.exit_code == 0, result.output
    assert all(f"data: {note}" in result.output for note in notes)
    assert not any("max_detections" in note for note in data_notes(settings(voc), data))


def test_ignored_objects_need_no_detection(voc, tmp_path):
    for file in (voc / "Annotations").glob("test*.xml"):
        file.write_text(file.read_text().replace("<difficult>0", "<difficult>1"))
    text = (voc / "Annotations" / "test000.xml").read_text()
    (voc / "Annotations" / "test000.xml").write_text(text.replace("<difficult>1", "<difficult>0", 1))
    data = prepare_data(settings(voc), tmp_path, lambda *_: None)
    assert data.split("test").objects() == [1, 0, 0, 0]
