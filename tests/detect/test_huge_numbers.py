"""Numbers that no image has are faults of their files, and never a traceback."""

import json

import pytest
from click.testing import CliRunner
from coco_folder import image, simple
from eurocity_folder import frame, thing, write
from voc_folder import write_voc
from yolo_folder import write_boxes

from spnas_search.cli.main import commands

HUGE = "9" * 400


def checked(spec):
    result = CliRunner().invoke(commands, ["data", "check", spec])
    assert isinstance(result.exception, SystemExit | None), result.exc_info
    return result.exit_code, result.output


def coco(root, number):
    images = [image(k, f"{k}.jpg", **({"width": 0} if k == 1 else {})) for k in range(6)]
    simple(root, images=images)
    file = root / "annotations" / "train.json"
    file.write_text(file.read_text().replace('"width": 0', f'"width": {number}'))
    return f"coco:{root}"


def ecp(root, number):
    for split in ("train", "val"):
        for index in range(4):
            content = json.dumps(frame(thing("pedestrian")))
            if (split, index) == ("train", 1):
                content = content.replace("192", number, 1)
            write(root / "ECP", "day", split, "lyon", index, content)
    return f"ecp:{root / 'ECP'}"


def yolo(root, number):
    write_boxes(root, [f"images/{split}/{name}" for split in ("train", "val") for name in "abc"])
    (root / "labels" / "train" / "a.txt").write_text(f"{number} 0.5 0.5 0.2 0.4\n")
    return f"yolo:{root}"


def voc(root, number):
    write_voc(root, images=6)
    file = next((root / "Annotations").glob("*.xml"))
    file.write_text(file.read_text().replace("<width>64", f"<width>{number}"))
    return f"voc:{root}"


@pytest.mark.parametrize("number", [HUGE, "9" * 5000, "2147483648", "1e400", "NaN"])
@pytest.mark.parametrize("layout", [coco, ecp, yolo])
def test_a_number_that_is_too_large_is_a_fault(tmp_path, layout, number):
    code, said = checked(layout(tmp_path / "data", number))
    assert code == 1
    assert "Faults: 1." in said or "error: " in said
    assert len(said) < 20_000


@pytest.mark.parametrize("number", [HUGE, "1e400", "NaN", "2147483648"])
def test_a_size_that_no_image_has_is_that_of_the_file_in_voc(tmp_path, number):
    code, said = checked(voc(tmp_path / "data", number))
    assert code == 0, said
