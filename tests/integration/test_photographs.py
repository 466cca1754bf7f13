"""Real photographs in VOC layout: what is read of them, and a search from them to its verdict."""

import re
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from commands import done

from spnas_detect.data import build_cache, open_data

CORNERS = "".join(rf"<{corner}>(\d+)</{corner}>\s*" for corner in ("xmin", "ymin", "xmax", "ymax"))


@pytest.fixture(params=["bccd", "rsod"])
def folder(request):
    return request.getfixturevalue(request.param)


def counts(data):
    labels = np.concatenate([record.labels for split in data.splits.values() for record in split])
    return dict(zip(data.classes, np.bincount(labels, minlength=len(data.classes) + 1)[1:].tolist(), strict=True))


def sizes(data):
    return {name: len(split) for name, split in data.splits.items()}


def test_bccd_has_its_published_splits_and_notes_its_dirt(bccd):
    data = open_data(f"voc:{bccd}", seed=0)
    assert sizes(data) == {"train": 205, "validation": 87, "test": 72}
    assert counts(data) == {"Platelets": 361, "RBC": 4153, "WBC": 372}
    assert data.notes == ("2 degenerate boxes dropped: BloodImage_00343.xml, BloodImage_00338.xml",)


def test_rsod_has_its_splits_and_objects_of_all_sizes(rsod):
    data = open_data(f"voc:{rsod}", seed=0)
    assert sizes(data) == {"train": 318, "validation": 106, "test": 106}
    assert counts(data) == {"aircraft": 2576, "oiltank": 1146, "overpass": 111, "playground": 110}
    assert data.notes == ()
    boxes = np.concatenate([record.boxes for split in data.splits.values() for record in split])
    widths = boxes[:, 2] - boxes[:, 0]
    assert widths.max() > 40 * np.quantile(widths, 0.01)


def test_boxes_agree_with_a_plain_text_search(folder):
    data = open_data(f"voc:{folder}", seed=0)
    for record in data.splits["validation"]:
        text = (folder / "Annotations" / f"{record.name}.xml").read_text()
        size = ET.fromstring(text).find("size")
        width, height = (int(size.findtext(side)) for side in ("width", "height"))
        written = np.asarray(re.findall(CORNERS, text), int)
        written = written[(written[:, 2:] > written[:, :2]).all(1)] - [1, 1, 0, 0]
        assert np.array_equal(record.boxes, np.clip(written, 0, [width, height, width, height]))


def test_images_are_cached_at_their_aspect(bccd, tmp_path):
    data = open_data(f"voc:{bccd}", seed=0)
    data = type(data)(data.spec, data.classes, {k: v[:4] for k, v in data.splits.items()}, "x", data.notes)
    split = build_cache(data, tmp_path, image_size=(160, 160)).split("train")
    assert split.resized(0) == (160, 120)
    image = split.images([0])[0]
    assert image[:, 120:].sum() == 0
    assert image[:, :120].float().std() > 10


@pytest.mark.slow
def test_a_search_goes_from_photographs_to_its_verdict(folder, tmp_path):
    settings = ["start=b@4_1-2-1-1", "warm_start_epochs=1", "strategy.epochs=1", "noise_seeds=2", "inherit=none"]
    settings += ["budget.candidates=1", "final.seeds=2", "task.image_size=[96,80]", "executor.name=inline"]
    settings += ["task.detector.neck_channels=8", "task.detector.head_channels=16"]
    chosen = [part for setting in settings for part in ("--set", setting)]
    printed = done("run", "serial", "--preset", "small", "--data", f"voc:{folder}", *chosen, "--out", tmp_path / "run")
    assert "1/1 children" in printed
    assert "95 % interval" in printed or "No child beat the start" in printed, printed[-2000:]
