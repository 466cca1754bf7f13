"""Precision against recall beside pycocotools', the confusion matrix beside a plain one, and the files of both."""

import csv
import io
import json
from contextlib import redirect_stdout
from itertools import combinations

import numpy as np
import pytest
import torch
from commands import done, refused
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.colors import to_rgb
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from spnas_core import Architecture
from spnas_core.errors import ConfigError
from spnas_core.morphisms import identity
from spnas_core.tasks import EvaluationRequest, Fidelity
from spnas_detect.commands.evaluate import _confusion_table
from spnas_detect.drawing.colours import relative_luminance
from spnas_detect.drawing.fonts import FONT_FILES, Lettering
from spnas_detect.inference import plots
from spnas_detect.inference.confusion import Confusion, confusion
from spnas_detect.inference.matching import FALSE, match_images
from spnas_detect.inference.plots import prepare_plots, write_plots
from spnas_detect.metrics import CocoMetric
from spnas_detect.settings import DetectionSettings
from spnas_detect.task import DetectionTask

CLASSES = ("cat", "dog", "owl")
FILES = ["confusion.csv", "confusion.png", "precision-recall.csv", "precision-recall.png"]


def scenes(seed, images=12, classes=3, grid=20):
    """Draw boxes on a coarse grid, so that overlaps and ties abound; crowds, and classes without a box among them."""
    rng = np.random.default_rng(seed)
    predictions, targets = [], []
    for _ in range(images):
        count, found = rng.integers(0, 6, 2)
        boxes, drawn = (grid * rng.integers(0, 5, (number, 4)).astype(np.float32) for number in (count, found))
        for one in (boxes, drawn):
            one[:, 2:] = one[:, :2] + grid * rng.integers(1, 4, (len(one), 2))
        if count and found:
            drawn[: found // 2 + 1] = boxes[rng.integers(0, count, found // 2 + 1)] + np.float32(3)
        order = np.sort(rng.integers(1, 10, found) / 10)[::-1].copy()
        predictions.append(
            {
                "boxes": torch.from_numpy(drawn),
                "scores": torch.from_numpy(order.astype(np.float32)),
                "labels": torch.from_numpy(rng.integers(1, classes + 1, found)),
            }
        )
        targets.append(
            {
                "boxes": torch.from_numpy(boxes),
                "labels": torch.from_numpy(rng.integers(1, max(2, classes), count)),  # the last class has none
                "ignore": torch.from_numpy(rng.random(count) < 0.2),
            }
        )
    return predictions, targets


def pycocotools_of(predictions, targets, classes):
    """Its evaluation of the same boxes."""

    def rows(items, more):
        found = []
        for image, item in enumerate(items):
            for box, label, value in zip(
                item["boxes"].tolist(), item["labels"].tolist(), item[more].tolist(), strict=True
            ):
                x, y, w, h = box[0], box[1], box[2] - box[0], box[3] - box[1]
                known = {"id": len(found) + 1, "image_id": image, "category_id": label, "bbox": [x, y, w, h]}
                found.append({**known, "area": w * h, "iscrowd": int(value) if more == "ignore" else 0, "score": value})
        return found

    def dataset(annotations):
        coco = COCO()
        images = [{"id": image} for image in range(len(targets))]
        categories = [{"id": label} for label in range(1, classes + 1)]
        coco.dataset = {"images": images, "categories": categories, "annotations": annotations}
        coco.createIndex()
        return coco

    with redirect_stdout(io.StringIO()):
        evaluation = COCOeval(dataset(rows(targets, "ignore")), dataset(rows(predictions, "scores")), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
    return evaluation


def metric_of(predictions, targets, classes=CLASSES):
    metric = CocoMetric(classes)
    metric.process(predictions, targets)
    return metric


def test_curves_are_pycocotools_precision_and_scores():
    inner = 0
    for seed in range(20):
        predictions, targets = scenes(seed)
        curves = metric_of(predictions, targets).precision_recall()
        evaluation = pycocotools_of(predictions, targets, 3)
        assert curves.ious == (0.5, 0.75)
        np.testing.assert_allclose(curves.recalls, evaluation.params.recThrs, atol=1e-12)
        for place, threshold in enumerate((0, 5)):
            for ours, name in ((curves.precision, "precision"), (curves.scores, "scores")):
                theirs = evaluation.eval[name][threshold, :, :, 0, -1]
                np.testing.assert_allclose(ours[place], np.where(theirs < 0, np.nan, theirs), atol=1e-6)
        inner += int(((curves.precision > 0) & (curves.precision < 1)).sum())
    assert inner > 500


def test_the_mean_of_a_curve_is_the_ap_that_is_told():
    predictions, targets = scenes(1)
    metric = metric_of(predictions, targets)
    curves, scores = metric.precision_recall(), metric.evaluate()
    for label, name in enumerate(CLASSES[:2]):
        assert curves.average[0, label] == pytest.approx(scores[f"AP50/{name}"])
    assert np.isnan(curves.average[:, 2]).all()
    with pytest.raises(ValueError, match="there is no image"):
        CocoMetric(CLASSES).precision_recall()


def test_the_file_of_a_curve_holds_it_all():
    curves = metric_of(*scenes(2)).precision_recall()
    rows = list(csv.DictReader(io.StringIO(curves.csv())))
    assert len(rows) == 3 * 2 * 101
    of_dogs = [row for row in rows if row["class"] == "dog" and row["iou"] == "0.75"]
    np.testing.assert_allclose([float(row["recall"]) for row in of_dogs], curves.recalls, atol=1e-9)
    np.testing.assert_allclose([float(row["precision"]) for row in of_dogs], curves.precision[1, :, 1], rtol=1e-5)
    assert {row["precision"] for row in rows if row["class"] == "owl"} == {""}


def overlap(one, other):
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    shared = max(width, 0) * max(height, 0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return shared / (sum(areas) - shared)


def plain_confusion(matches, classes):
    """The definition, box by box."""
    counts = [[0] * (classes + 1) for _ in range(classes + 1)]
    for image in matches:
        lost = []
        for place, label in enumerate(image.true_labels.tolist()):
            if image.found[place] and not image.ignore[place]:
                counts[label - 1][label - 1] += 1
            elif not image.ignore[place]:
                lost.append(place)
        for box, label, outcome in zip(
            image.boxes.tolist(), image.labels.tolist(), image.outcome.tolist(), strict=True
        ):
            if outcome != FALSE:
                continue
            near = [(overlap(box, image.true_boxes[place].tolist()), -place) for place in lost]
            best = max(near, default=(0.0, 0))
            if best[0] >= 0.5:
                lost.remove(-best[1])
                counts[image.true_labels[-best[1]] - 1][label - 1] += 1
            else:
                counts[classes][label - 1] += 1
        for place in lost:
            counts[image.true_labels[place] - 1][classes] += 1
    return counts


@given(st.integers(0, 10**6), st.sampled_from([0.0, 0.3, 0.8]))
@settings(max_examples=60, deadline=None)
def test_the_matrix_follows_its_definition_in_plain_python(seed, threshold):
    matches = match_images(*scenes(seed, images=6), 3, threshold)
    found = confusion(matches, CLASSES)
    assert found.counts.tolist() == plain_confusion(matches, 3)
    rows, columns = found.counts.sum(1), found.counts.sum(0)
    boxes = [sum(int(((m.true_labels == label) & ~m.ignore).sum()) for m in matches) for label in (1, 2, 3)]
    assert rows[:3].tolist() == boxes
    counted = [sum(int(((m.labels == label) & (m.outcome >= 0)).sum()) for m in matches) for label in (1, 2, 3)]
    assert columns[:3].tolist() == counted
    assert np.trace(found.counts) == sum(int(m.found[~m.ignore].sum()) for m in matches)


def test_a_matrix_by_hand():
    a, b, far = [0.0, 0, 10, 10], [20.0, 0, 30, 10], [60.0, 60, 70, 70]
    prediction = {
        "boxes": torch.tensor([a, [20.0, 0, 30, 9], [0.0, 0, 10, 9], far]),
        "scores": torch.tensor([0.9, 0.8, 0.7, 0.6]),
        "labels": torch.tensor([1, 1, 2, 3]),
    }
    target = {
        "boxes": torch.tensor([a, b, [40.0, 40, 50, 50]]),
        "labels": torch.tensor([1, 2, 3]),
        "ignore": torch.tensor([False, False, False]),
    }
    found = confusion(match_images([prediction], [target], 3, 0.5), CLASSES)
    # a cat is found; the dog is taken for a cat; the second look at the cat and the far owl find nothing
    assert found.counts.tolist() == [[1, 0, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1], [0, 1, 1, 0]]
    assert found.mistakes(5) == [("dog", "cat", 1)]
    assert found.csv() == "annotated,cat,dog,owl,missed\ncat,1,0,0,0\ndog,1,0,0,0\nowl,0,0,0,1\nbackground,0,1,1,0\n"
    assert found.shares[0].tolist() == [1, 0, 0, 0]
    assert np.isnan(Confusion(CLASSES, np.zeros((4, 4), np.int64)).shares).all()


def test_mistakes_of_many_classes_are_listed_where_there_are_any():
    counts = np.eye(10, dtype=np.int64)
    assert list(_confusion_table(Confusion(tuple("abcdefghi"), counts))) == []
    counts[0, 1] = 3
    (listed,) = _confusion_table(Confusion(tuple("abcdefghi"), counts))
    assert listed.row_count == 1


@pytest.mark.parametrize("classes", [1, 25])
def test_plots_are_written_again_and_nothing_foreign_is(tmp_path, classes):
    names = [f"class $x_{number}^2$ 猫" for number in range(classes)]
    predictions, targets = scenes(3, classes=classes)
    matrix = confusion(match_images(predictions, targets, classes, 0.5), names)
    prepare_plots(tmp_path)
    write_plots(tmp_path, metric_of(predictions, targets, names).precision_recall(), matrix, 0.5)
    prepare_plots(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == FILES
    for name in FILES[1::2]:
        with Image.open(tmp_path / name) as picture:
            assert min(picture.size) > 400
            assert len(np.unique(np.asarray(picture.convert("L")))) > 20
    for name in FILES:
        other = tmp_path / "other" / name
        other.parent.mkdir(exist_ok=True)
        Image.new("RGB", (9, 9)).save(other) if name.endswith(".png") else other.write_text("a,b\n")
        with pytest.raises(ConfigError, match=f"{other} exists and was not written by spnas: choose another --curves"):
            prepare_plots(other.parent)
        other.unlink()


def plotted(tmp_path, names):
    """What the plots of such classes say, and the figure of the curves."""
    predictions, targets = scenes(3, classes=len(names))
    matrix = confusion(match_images(predictions, targets, len(names), 0.5), names)
    saved = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plots, "_save", lambda figure, _: saved.append(figure))
        remarks = write_plots(tmp_path, metric_of(predictions, targets, names).precision_recall(), matrix, 0.5)
    return saved, remarks


def texts(axes):
    """The names in a legend, each without its AP."""
    return {text.get_text().rsplit("  ", 1)[0] for text in axes.get_legend().get_texts()}


def test_names_in_plots_show_what_nobody_would_see(tmp_path):
    names = ["evil\u202etxt", "two\nlines", "_a$b$", f"{'x' * 19}\x1b[2J"]
    (curves, matrix), remarks = plotted(tmp_path, names)
    *shown, cut = [r"evil\u202etxt", r"two\nlines", r"_a\$b\$", "x" * 19 + r"\x1b" + "…"]
    assert texts(curves.axes[0]) == {*shown, "mean of 3"}  # the last class has no box
    assert [label.get_text() for label in matrix.axes[0].get_xticklabels()][:4] == [*shown, cut]
    assert remarks == []


@pytest.mark.parametrize("files", [(), FONT_FILES])
def test_names_that_no_font_can_write_are_numbers_and_that_is_said(tmp_path, monkeypatch, files):
    monkeypatch.setattr(plots, "FONT_FILES", files)
    names = ["Größe", "\U0010fffe猫", "\U0010fffe犬"]
    (_, matrix), remarks = plotted(tmp_path, names)
    assert [label.get_text() for label in matrix.axes[0].get_xticklabels()][:3] == ["Größe", "class 2", "class 3"]
    (remark,) = remarks
    assert remark.startswith("no font here writes 2 class names, so the plots have 'class 2' for ")


def test_a_font_with_the_letters_writes_them_in_all_texts_of_a_class(tmp_path, monkeypatch):
    monkeypatch.setattr(Lettering, "file", "/fonts/one.ttf")
    (curves, matrix), _ = plotted(tmp_path, CLASSES)
    labels = [*curves.axes[0].get_legend().get_texts(), *matrix.axes[0].get_yticklabels()]
    assert {label.get_fontproperties().get_file() for label in labels} == {"/fonts/one.ttf"}


def test_curves_stay_apart_without_hues_and_on_white(tmp_path):
    (curves, _), _ = plotted(tmp_path, [f"class {number}" for number in range(16)])
    lines = [line for line in curves.axes[0].lines if "class" in line.get_label()]
    assert len(lines) == 10
    colours = [tuple(round(255 * part) for part in to_rgb(line.get_color())) for line in lines]
    for colour in colours:
        assert 1.05 / (relative_luminance(colour) + 0.05) >= 3
    for (one, colour), (other, beside) in combinations(list(zip(lines, colours, strict=True)), 2):
        if one.get_linestyle() == other.get_linestyle():
            for seen in (NORMAL, *DICHROMATS):
                assert np.linalg.norm(lab(seen, colour) - lab(seen, beside)) > 15


NORMAL = np.eye(3)
DICHROMATS = (
    np.array([[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]),
    np.array([[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]),
    np.array([[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]),
)
"""Of linear RGB, for protanopes, deuteranopes and tritanopes: Machado et al., 2009, severity 1."""


def lab(seen, colour):
    """CIE L*a*b* of an sRGB colour as somebody sees it."""
    part = np.array(colour) / 255
    linear = np.clip(seen @ np.where(part <= 0.04045, part / 12.92, ((part + 0.055) / 1.055) ** 2.4), 0, 1)
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    xyz = to_xyz @ linear / (0.9505, 1.0, 1.089)
    x, y, z = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def test_the_command_draws_and_prints(tmp_path):
    options = {"image_size": 64, "max_size": 40, "min_size": 16, "train": 8, "validation": 2, "test": 6}
    values = {"data_options": options, "image_size": (64, 64), "detector": {"neck_channels": 8}, "device": "cpu"}
    task = DetectionTask(DetectionSettings.model_validate(values))
    task.prepare(tmp_path / "cache", lambda *_: None)
    weights, out = tmp_path / "w.safetensors", tmp_path / "curves"
    start = identity(Architecture.parse("b@4_1-2"))
    task.evaluate(EvaluationRequest(0, start, None, weights, Fidelity(1), 1, split="test"), lambda _: None)
    shared = ("evaluate", weights, "--device", "cpu", "--score-threshold", 0.05, "--curves", out)
    output = done(*shared)
    assert sorted(path.name for path in out.iterdir()) == FILES
    assert f"precision-recall and confusion, each as .png and .csv, are in {out}." in output.replace("\n", " ")
    document = json.loads(done(*shared, "--json"))
    rows = list(csv.reader((out / "confusion.csv").read_text().splitlines()))
    assert document["confusion"] == [[int(cell) for cell in row[1:]] for row in rows[1:]]
    assert [row[0] for row in rows] == ["annotated", "square", "disc", "triangle", "ring", "background"]
    for row, result in zip(rows[1:], document["classes"], strict=False):
        assert sum(map(int, row[1:])) == result["boxes"]
        assert f"{result['name']}" in output
        assert result["metrics"].keys() == {"AP", "AP50"}
    (out / "confusion.csv").write_text("mine")
    assert "confusion.csv exists and was not written by spnas" in refused(*shared)
