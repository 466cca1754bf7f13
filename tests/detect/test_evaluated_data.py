"""Which data a detector is scored on, and what is told of its options."""

import spnas_detect
from spnas_detect.inference.evaluation import _left_out


def test_the_trainings_data_is_that_however_its_path_is_written(tmp_path, monkeypatch):
    """Else the options would be left out that it was read with, in silence."""
    jobs, weights = [], tmp_path / "weights.safetensors"
    weights.touch()
    monkeypatch.setattr("spnas_detect.inference.evaluation._evaluate", lambda job, *_: jobs.append(job))
    (tmp_path / "data").mkdir()
    monkeypatch.chdir(tmp_path)
    for spec in ("voc:data", f"voc:{tmp_path}/data", "voc:./data/", None, "shapes"):
        spnas_detect.evaluate(weights, spec)
    assert [job.data for job in jobs] == [f"voc:{tmp_path}/data"] * 3 + [None, "shapes"]


def test_options_that_are_not_taken_for_other_data_are_told():
    trained = {"data": "voc:/mine", "data_options": {"exif": "ignore", "test": "carved"}}
    (told,) = _left_out("voc:/other", None, trained)
    assert told.startswith("the options of the training's data (exif=ignore, test=carved) are not taken for other data")
    assert not list(_left_out("voc:/other", {}, trained))
    assert not list(_left_out("coco:/other", None, trained)), "of another kind they mean nothing"
    assert not list(_left_out("voc:/other", None, {"data": "voc:/mine"}))
