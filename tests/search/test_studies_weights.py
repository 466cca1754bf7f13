"""Weights that trainings of a study inherit: those that are gone or altered are made again, and scores stay."""

import json

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from studying import Heard, line_of, resumed, started

from spnas_search.studies import fill, read_study
from spnas_search.testing.null_task import NullTask


def test_weights_that_are_gone_are_made_again_and_their_scores_stay(tmp_path):
    line = line_of(3)
    with started(tmp_path / "s", task={"noise": 0.0}) as study:
        fill(study, line[:2], Heard())  # nothing inherits from the second yet, so its weights are not kept
        before = dict(study.results.trainings)
        fill(study, line, heard := Heard())
        found = study.results.trainings
    assert [message.split(":")[0] for message in heard.messages] == [
        f"the weights of {job.key} are missing" for job in line[:2]
    ]
    assert [one.key for one in heard.trainings] == [job.key for job in line[2:]]
    assert all(found[key] == one for key, one in before.items())
    assert found[line[3].key].metrics["score"] == NullTask().score(str(line[3].rewrite.child), 4)
    assert len(read_study(tmp_path / "s", "test")[1].trainings) == 4


@pytest.mark.parametrize("has_checksum", [True, False])
def test_weights_that_were_altered_are_made_again(tmp_path, has_checksum):
    """A study of before checksums goes on with what is there."""

    def stop():
        raise KeyboardInterrupt

    line, folder = line_of(1), tmp_path / "s"
    with started(folder, task={"noise": 0.0}) as study, pytest.raises(KeyboardInterrupt):
        fill(study, line, Heard(1, stop), batch=1)
    (weights,) = (folder / "weights").glob("[0-9]*")
    content = weights.read_bytes()
    weights.write_bytes(content[:-8] + bytes([100]) + content[-7:])
    if not has_checksum:
        (told,) = (folder / "trainings.jsonl").read_text().splitlines()
        values = json.loads(told)
        del values["checksum"]
        (folder / "trainings.jsonl").write_text(json.dumps(values) + "\n")
    with resumed(folder) as study:
        fill(study, line, heard := Heard())
        score = study.results.trainings[line[1].key].metrics["score"]
    age = 2 if has_checksum else 101
    assert score == NullTask().score(str(line[1].rewrite.child), age)
    again = f"the weights of {line[0].key} are altered: it is evaluated again"
    assert heard.messages == ([again] if has_checksum else [])
    assert [one.key for one in heard.trainings] == [line[1].key]


def test_other_weights_that_were_made_again_are_those_that_are_known_from_then_on(tmp_path, monkeypatch):
    line, folder = line_of(2), tmp_path / "s"
    with started(folder) as study:
        fill(study, line[:2], Heard())
        before = dict(study.results.trainings)
        evaluate = NullTask.evaluate

        def otherwise(self, request, report):
            found = evaluate(self, request, report)
            if request.weights is not None:
                save_file({"epochs": load_file(request.weights)["epochs"], "more": np.ones(1)}, request.weights)
            return found

        monkeypatch.setattr(NullTask, "evaluate", otherwise)
        fill(study, line, heard := Heard(), batch=1)
    assert [one.key for one in heard.trainings] == [line[2].key]
    assert len(heard.messages) == 2
    found = read_study(folder, "test")[1].trainings
    assert {key: found[key] for key in before} == before
    assert all(found[key].checksum not in {"", one.checksum} for key, one in before.items())
