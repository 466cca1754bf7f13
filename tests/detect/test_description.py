"""What a weights file says of its detector."""

import json

import pytest
import torch
from safetensors.torch import save_file

from spnas_core.errors import WeightsError
from spnas_detect.detectors import DetectorDescription, DetectorSettings, read_description

DESCRIPTION = DetectorDescription(
    "b@8_1-2-2", ("cat", "dog"), DetectorSettings(neck_channels=16, aspect_ratios=(0.5, 1.0)), (64, 48), "group"
)
PLAIN = DESCRIPTION.metadata()


def write(path, text):
    metadata = None if text is None else {"spnas": text}
    save_file({"weight": torch.zeros(1)}, path, metadata=metadata)
    return path


def refused(path) -> str:
    with pytest.raises(WeightsError) as caught:
        read_description(path)
    assert path.name in str(caught.value)
    return str(caught.value)


def test_a_description_survives_the_file(tmp_path):
    assert read_description(write(tmp_path / "file", json.dumps(PLAIN))) == DESCRIPTION
    assert DetectorDescription.from_metadata(PLAIN, "it") == DESCRIPTION


def test_what_others_write_besides_is_left_alone_and_the_norm_may_be_missing(tmp_path):
    said = {**PLAIN, "epochs": 12}
    del said["norm"]
    assert read_description(write(tmp_path / "file", json.dumps(said))).norm == "batch"


def test_files_that_describe_nothing_are_refused_with_what_to_do(tmp_path):
    assert "does not exist" in refused(tmp_path / "none.safetensors")
    assert "neither a weights file nor a run" in refused(tmp_path)
    (tmp_path / "file.pth").write_bytes(b"PK\3\4 something else")
    assert "name a file that a search or spnas train has written" in refused(tmp_path / "file.pth")
    assert "says nothing ('spnas' is missing" in refused(write(tmp_path / "foreign", None))
    assert "no JSON" in refused(write(tmp_path / "text", "{"))
    assert "no JSON object" in refused(write(tmp_path / "list", "[]"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"detector": None, "image_size": None}, "does not say detector, image_size of its detector"),
        ({"architecture": "nonsense"}, "architecture that cannot be built here"),
        ({"architecture": "q_1-1"}, "no block type is called 'q'"),
        ({"detector": {"neck_chanels": 3}}, "detector.neck_chanels is 3"),
        ({"detector": {"pooled_size": 0}}, "detector.pooled_size is 0, input should be greater"),
        ({"classes": "cat"}, "classes are 'cat': they must be a list"),
        ({"classes": []}, "list of different names"),
        ({"classes": ["cat", "cat"]}, "list of different names"),
        ({"classes": [1]}, "list of different names"),
        ({"image_size": [64]}, "image_size is [64]"),
        ({"image_size": [64, 0]}, "image_size is [64, 0]"),
        ({"image_size": 64}, "image_size is 64"),
        ({"norm": 3}, "norm is 3"),
    ],
)
def test_what_makes_no_sense_is_named(tmp_path, change, message):
    said = {name: value for name, value in {**PLAIN, **change}.items() if value is not None}
    assert message in refused(write(tmp_path / "file", json.dumps(said)))
