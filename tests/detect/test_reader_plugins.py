"""What a plugin's reader does wrong is named, by ``spnas data check`` and by a training, and is never a traceback."""

from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner

from spnas_core.errors import DataError, PluginError
from spnas_core.plugins import registry
from spnas_detect.data import ImageRecord, open_data
from spnas_detect.data._base import READERS
from spnas_detect.data.fitting import read_pixels
from spnas_detect.opening import open_known, read_known
from spnas_search.cli.main import commands

TINY = {"image_size": 64, "max_size": 32, "train": 6, "validation": 3, "test": 2}
TRAIN = ("train", "b@8_1", "--data", "odd", "--epochs", "1", "--image-size", "64x64")


def sound():
    return open_data("shapes", seed=3, **TINY).made()


def changed_record(**fields):
    data = sound()
    first, *others = data.splits["train"]
    return replace(data, splits={**data.splits, "train": (replace(first, **fields), *others)})


def raising(error):
    def read():
        raise error

    return read


@pytest.fixture
def plug(monkeypatch):
    """Register a reader that returns, or raises, something."""

    def register(found):
        def reader(path, *, seed, options):
            if isinstance(found, Exception):
                raise found
            return found

        monkeypatch.setitem(registry("datasets").items, "odd", reader)

    return register


def refused(*arguments):
    result = CliRunner().invoke(commands, list(arguments))
    assert result.exit_code != 0, result.output
    if isinstance(result.exception, Exception):  # what the command line makes one line of
        assert isinstance(result.exception, PluginError | DataError), result.exc_info
    return f"{result.output}{result.exception}"


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (KeyError("boxes"), "raised KeyError: 'boxes' in read"),
        (FileNotFoundError("gone"), "raised FileNotFoundError: gone in read"),
        (None, "returned a NoneType: it must be a DetectionData"),
        (replace(sound(), splits={"train": ()}), "returned the splits 'train': they must be train, validation, test"),
        (replace(sound(), splits={**sound().splits, "test": None}), "returned a NoneType as the test split"),
        (replace(sound(), classes=("disc", "disc", "ring", "square")), "returned two classes of the name 'disc'"),
        (replace(sound(), classes=()), "returned the classes (): they must be"),
    ],
)
def test_what_is_no_data_names_the_plugin(plug, tmp_path, found, message):
    plug(found)
    for command in (("data", "check", "odd"), (*TRAIN, "--out", str(tmp_path / "out"))):
        assert (said := refused(*command)).count("dataset 'odd' of plugin") == 1
        assert message in said


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"boxes": [[1, 1, 5, 5]]}, "has boxes of list: they must be float32[0, 4]"),
        ({"boxes": np.zeros((2, 5), np.float32)}, "has boxes of float32[2, 5]: they must be float32[2, 4]"),
        ({"boxes": np.array([[np.nan, 0, 5, 5]], np.float32)}, "has the box [nan, 0.0, 5.0, 5.0]: it must be inside"),
        (
            {"boxes": np.array([[0, 0, 65, 5]], np.float32)},
            "has the box [0.0, 0.0, 65.0, 5.0]: it must be inside 64x64",
        ),
        ({"boxes": np.array([[5, 0, 5, 5]], np.float32)}, "has the box [5.0, 0.0, 5.0, 5.0] without an area"),
        ({"labels": np.ones(9, np.int64)}, "has labels of int64[9]"),
        ({"labels": np.array([1.0])}, "has labels of float64[1]: they must be int64[1]"),
        ({"labels": np.array([9])}, "has a box of class 9: the data declares 1…4"),
        ({"ignore": np.zeros(7, np.bool_)}, "has ignore of bool[7]"),
        ({"areas": np.ones(7)}, "has areas of float64[7]"),
        ({"areas": np.zeros(1)}, "has an area that is not above 0"),
        ({"own_boxes": np.array([[0, 0, 99, 5]], np.float32)}, "has the own box [0.0, 0.0, 99.0, 5.0]"),
        ({"tags": ((), ())}, "has 1 boxes and tags for 2"),
        ({"width": 0}, "has the size 0x64"),
        ({"width": "64"}, "has the size '64'x64"),
        ({"name": 7}, "has no text as its name"),
        ({"read": None}, "or nothing that reads it"),
    ],
)
def test_a_malformed_record_is_a_fault_of_its_image_and_the_others_are_looked_at(plug, tmp_path, fields, message):
    one = {
        "boxes": np.array([[1, 1, 5, 5]], np.float32),
        "labels": np.ones(1, np.int64),
        "ignore": np.zeros(1, np.bool_),
    }
    plug(changed_record(**{**one, "tags": (), **fields}))
    data = read_known("odd", 0, {})
    assert [(fault.kind, message in fault.text) for fault in data.faults] == [("malformed record", True)], data.faults
    assert [len(records) for records in data.splits.values()] == [5, 3, 2]
    said = refused("data", "check", "odd")
    assert "malformed record" in said
    assert "train: 5 images" in said
    with pytest.raises(DataError, match="image") as caught:
        open_known("odd", 0, {})
    assert message in str(caught.value)


def test_what_is_no_record_is_a_fault_of_its_split(plug):
    data = sound()
    plug(replace(data, splits={**data.splits, "test": (*data.splits["test"], "third")}))
    (fault,) = read_known("odd", 0, {}).faults
    assert fault.text == "record 2 of the test split is a str: it must be an ImageRecord"


@pytest.mark.parametrize(
    ("read", "message"),
    [
        (raising(RuntimeError("no\nluck")), "raised RuntimeError: no luck in reading"),
        (lambda: [[0]], "as a list: it must be uint8[H, W, 3]"),
    ],
)
def test_pixels_that_a_plugin_cannot_give_name_it(plug, tmp_path, read, message):
    plug(changed_record(read=read))
    for command in (("data", "check", "odd"), (*TRAIN, "--out", str(tmp_path / "out"))):
        assert message in refused(*command)


@pytest.mark.parametrize(
    ("read", "message"),
    [
        (raising(DataError("image 3 is torn")), "^image 3 is torn$"),
        (raising(FileNotFoundError("gone")), "cannot be read: gone$"),
        (lambda: np.zeros((4, 4)), "was read as float64"),
    ],
)
def test_what_is_wrong_with_an_image_is_its_own_fault(plug, read, message):
    plug(changed_record(read=read))
    with pytest.raises(DataError, match=message):
        read_pixels(open_known("odd", 0, {}).splits["train"][0])


def test_records_of_a_plugin_stay_lazy_and_what_comes_with_us_is_not_wrapped(plug):
    plug(sound())
    held = open_known("odd", 0, {}).splits["train"]
    assert [one.name for one in held[1:3]] == [held[1].name, held[2].name]
    assert np.array_equal(held[-1].read(), sound().splits["train"][-1].read())
    assert all(isinstance(one, ImageRecord) for one in held)
    assert type(open_known("shapes", 0, TINY).splits["train"]) is type(
        READERS["shapes"](None, seed=0, options=TINY).splits["train"]
    )


@pytest.mark.parametrize("option", ["seed", "readers", "spec", "options"])
def test_an_option_that_is_called_as_an_argument_is_an_unknown_one(tmp_path, option):
    for command in (
        ("train", "b@8_1", "--data", "shapes", "--epochs", "1", "--out", str(tmp_path / "out")),
        ("data", "check", "shapes"),
    ):
        said = refused(*command, "--data-option", f"{option}=1")
        assert f"shapes data has no option {option!r}" in said
        assert ("--data-seed" in said) == (option == "seed")
