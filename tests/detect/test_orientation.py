"""Images of the other orientation get the transposed canvas, from the cache to the boxes that are found."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from mixed_images import photograph, write_mixed
from tiny_training import tiny_settings

from spnas_core.errors import WeightsError
from spnas_detect.data import Loader, StreamedSplit, build_cache, open_data, streaming, train_augmentation
from spnas_detect.data._base import ImageRecord
from spnas_detect.data.cache.content import pixel_digest
from spnas_detect.data.canvases import canvas_of, is_transposed
from spnas_detect.data.fitting import fitted_size, letterbox, read_for_canvas
from spnas_detect.data.seen import SeenImages
from spnas_detect.data.survey import suggest
from spnas_detect.detectors import Detections, DetectorDescription
from spnas_detect.detectors.settings import DetectorSettings
from spnas_detect.inference.detection import detect
from spnas_detect.inference.evaluation import evaluate
from spnas_detect.inference.prediction import predict
from spnas_detect.jobs import train
from spnas_detect.processes import Processes
from spnas_detect.training.loop import batches_by_canvas, score

CANVAS = (96, 64)
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    return write_mixed(tmp_path_factory.mktemp("mixed") / "coco")


@pytest.fixture(scope="module")
def splits(mixed, tmp_path_factory):
    data = open_data(f"coco:{mixed}", seed=0)
    folder = tmp_path_factory.mktemp("cache")
    return {
        one: build_cache(data, folder, image_size=CANVAS, orientation=one).split("train") for one in ("fixed", "either")
    }


@pytest.mark.parametrize(
    ("image", "canvas", "wanted"),
    [
        ((480, 640), (1344, 800), True),
        ((640, 480), (1344, 800), False),
        ((640, 640), (1344, 800), False),
        ((640, 480), (600, 1000), True),
        ((480, 640), (600, 1000), False),
        ((480, 640), (800, 800), False),
    ],
)
def test_which_images_get_the_transposed_canvas(image, canvas, wanted):
    assert is_transposed(image, canvas, "either") is wanted
    assert not is_transposed(image, canvas, "fixed")
    assert canvas_of(image, canvas, "either") == (canvas[::-1] if wanted else canvas)


def test_a_standing_photograph_keeps_its_resolution():
    """As torchvision has it: a shorter side of 800 unless the longer one exceeds the limit."""
    for size in ((480, 640), (427, 640), (640, 480)):
        factor = min(800 / min(size), 1344 / max(size))
        wanted = tuple(round(side * factor) for side in size)
        assert fitted_size(size, canvas_of(size, (1344, 800), "either")) == wanted
    assert fitted_size((480, 640), (1344, 800)) == (600, 800)


def test_the_cache_has_each_image_as_its_own_canvas_fits_it(splits, mixed):
    split = splits["either"]
    assert {split.is_transposed(index) for index in range(len(split))} == {False, True}
    assert not any(splits["fixed"].is_transposed(index) for index in range(len(split)))
    for index, name in enumerate(split.names):
        size = split.size(index)
        canvas = canvas_of(size, CANVAS, "either")
        image = split.images([index])[0]
        assert image.shape == (3, canvas[1], canvas[0]), name
        (record,) = [one for one in open_data(f"coco:{mixed}", seed=0).splits["train"] if one.name == name]
        fitted, scale = letterbox(record.read(), canvas)
        width, height = split.resized(index)
        assert torch.equal(image[:, :height, :width], fitted)
        assert split.scale(index) == scale
        assert not image[:, height:].any()
        assert not image[:, :, width:].any()
    everything = split.images(range(len(split)))
    assert everything.shape[-2:] == (96, 96)
    for index in range(len(split)):
        one = split.images([index])[0]
        assert torch.equal(everything[index, :, : one.shape[1], : one.shape[2]], one)


def test_images_that_do_not_stand_as_they_are_annotated_are_kept(splits):
    split = splits["either"]
    index = split.names.index("wrong.jpg")
    assert (split.size(index), split.is_transposed(index)) == ((44, 66), True)


def loader(split, **options):
    return Loader(split, **{"batch_size": 4, "shuffle": True, "seed": 3, **options})


@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("size", [3, 4, 5])
def test_batches_are_of_one_canvas_but_for_what_is_left_over(splits, drop_last, size):
    split = splits["either"]
    made, plain = (loader(splits[one], drop_last=drop_last, batch_size=size) for one in ("either", "fixed"))
    assert len(made) == len(plain)
    seen = set()
    for epoch in range(6):
        batches = made.batches(epoch)
        assert len(batches) == len(made)
        sides = [{split.is_transposed(index) for index in batch} for batch in batches]
        used = [index for batch in batches for index in batch]
        standing = sum(map(split.is_transposed, used))
        of_one = standing // size + (len(used) - standing) // size
        assert all(len(one) == 1 for one in sides[:of_one])
        assert len(used) == len(set(used)) == (len(split) // size * size if drop_last else len(split))
        seen |= set(used)
        assert batches == loader(split, drop_last=drop_last, batch_size=size).batches(epoch)
        # within a canvas the order is the epoch's
        order = made.order(epoch)
        for side in (False, True):
            mine = [index for batch in batches[:of_one] for index in batch if split.is_transposed(index) is side]
            assert mine == [index for index in order if split.is_transposed(index) is side][: len(mine)]
    assert seen == set(range(len(split)))
    assert made.batches(0) != made.batches(1)


def test_a_fixed_canvas_has_the_batches_of_its_order(splits):
    made = loader(splits["fixed"])
    order = made.order(2)
    assert made.batches(2) == [order[start : start + 4] for start in range(0, len(order), 4)]


@pytest.mark.parametrize("image_sizes", [None, [(96, 64), (72, 48)]])
def test_processes_get_parts_of_the_same_batches_in_the_same_canvas(splits, image_sizes):
    options = {"image_sizes": image_sizes, "augmentation": train_augmentation(), "photometric": True}
    options["drop_last"] = True
    split = splits["either"]
    for number, batch in enumerate(loader(split, **options).epoch(1)):
        parts = [list(loader(split, rank=rank, world_size=2, **options).epoch(1))[number] for rank in (0, 1)]
        assert torch.cat([part.images for part in parts]).equal(batch.images)
        assert parts[0].indices + parts[1].indices == batch.indices
    for ahead in (1, 3):
        whole = list(loader(split, **options).epoch(1))
        assert all(
            torch.equal(one.images, other.images)
            for one, other in zip(whole, loader(split, prefetch=ahead, **options).epoch(1), strict=True)
        )


def test_a_batch_lies_in_its_canvas_and_a_mixed_one_in_the_splits(splits):
    split = splits["either"]
    shapes = set()
    for epoch in range(3):
        for batch in loader(split, batch_size=5).epoch(epoch):
            sides = {split.is_transposed(index) for index in batch.indices}
            wanted = (96, 64) if sides == {True} else (64, 96)
            assert batch.images.shape[-2:] == wanted
            shapes.add((len(sides), wanted))
            for place, index in enumerate(batch.indices):
                height, width = (int(side) for side in batch.targets.sizes[place])
                found = batch.targets.image(place)["boxes"]
                original = torch.tensor(split.size(index) * 2)
                assert torch.allclose(
                    found / torch.tensor([width, height] * 2), split.boxes(index) / original, atol=0.02
                )
                assert not batch.images[place, :, height:].any()
                if split.is_transposed(index) and len(sides) == 2:
                    assert (width, height) == fitted_size(split.resized(index), CANVAS)
                else:
                    assert torch.equal(
                        batch.images[place, :, :height, :width], split.images([index])[0, :, :height, :width]
                    )
    assert shapes == {(1, (96, 64)), (1, (64, 96)), (2, (64, 96))}


def test_canvases_of_several_sizes_are_transposed_for_standing_images(splits):
    split = splits["either"]
    made = loader(split, image_sizes=[(72, 40), (120, 72)])
    for epoch in range(3):
        for number, batch in enumerate(made.epoch(epoch)):
            width, height = made.canvas(epoch, number)
            is_standing = all(map(split.is_transposed, batch.indices))
            assert batch.images.shape[-2:] == ((width, height) if is_standing else (height, width))


class Whole:
    """A detector that finds each image's occupied part, and notes the batches that it gets."""

    def __init__(self):
        self.batches = []

    def eval(self):
        return self

    def detect(self, images, sizes):
        self.batches.append(tuple(images.shape))
        boxes = torch.tensor([[[0.0, 0.0, width, height]] for height, width in sizes.tolist()])
        scores = images.mean((1, 2, 3)).sigmoid()[:, None]
        ones = torch.ones(len(images), dtype=torch.int64)
        return Detections(boxes, scores, ones[:, None], ones)


class Recorder:
    def reset(self):
        self.predictions, self.targets = [], []

    def process(self, predictions, targets):
        self.predictions += predictions
        self.targets += targets

    def evaluate(self):
        return {}


def test_scores_and_predictions_are_of_one_canvas_and_told_in_order(splits, mixed):
    records = open_data(f"coco:{mixed}", seed=0).splits["train"]
    for orientation, split in splits.items():
        detector, recorder = Whole(), Recorder()
        score(detector, split, [recorder], batch_size=3, device=CPU)
        assert [tuple(one["size"].tolist()) for one in recorder.targets] == [split.size(i) for i in range(len(split))]
        for index, one in enumerate(recorder.predictions):
            assert torch.allclose(one["boxes"], torch.tensor([[0.0, 0.0, *split.size(index)]]), atol=1e-3)
        shapes = {shape[-2:] for shape in detector.batches}
        assert shapes == ({(64, 96), (96, 64)} if orientation == "either" else {(64, 96)})
        streamed = Recorder()
        score(Whole(), StreamedSplit(records, CANVAS, orientation), [streamed], batch_size=3, device=CPU)
        seen = detect(Whole(), [record.read() for record in records], CANVAS, orientation, CPU)
        for one, other, third in zip(recorder.predictions, streamed.predictions, seen, strict=True):
            assert torch.equal(one["boxes"], other["boxes"])
            assert torch.equal(one["scores"], other["scores"])
            assert torch.equal(one["scores"], third["scores"])
            assert torch.equal(one["boxes"], third["boxes"])


def test_a_stream_decodes_each_image_once_while_it_is_scored(mixed):
    counts = {}

    def counted(record):
        def read():
            counts[record.name] = counts.get(record.name, 0) + 1
            return record.read()

        return ImageRecord(record.name, read, record.width, record.height, record.boxes, record.labels, record.ignore)

    records = [counted(record) for record in open_data(f"coco:{mixed}", seed=0).splits["train"]]
    for orientation in ("fixed", "either"):
        counts.clear()
        score(Whole(), StreamedSplit(records, CANVAS, orientation), [Recorder()], batch_size=3, device=CPU)
        assert counts == dict.fromkeys(counts, 1)
        assert len(counts) == len(records)


def unfiled(record):
    """A record of the same image that comes from no file, as plugins' may."""

    def read():
        return record.read()

    return replace(record, read=read)


@pytest.mark.parametrize("made", [lambda record: record, unfiled])
@pytest.mark.parametrize("orientation", ["fixed", "either"])
def test_each_process_decodes_only_what_it_scores_just_before_and_counts_that_as_seen(
    mixed, monkeypatch, orientation, made
):
    records = [made(record) for record in open_data(f"coco:{mixed}", seed=0).splits["train"]]
    everything = SeenImages.of(pixel_digest(record.read()) for record in records)
    decoded = []

    def noting(record, *arguments, **options):
        decoded.append(record.name)
        return read_for_canvas(record, *arguments, **options)

    monkeypatch.setattr(streaming, "read_for_canvas", noting)
    names, seen = [], []
    for rank in (0, 1):
        decoded.clear()
        split, detector, before = StreamedSplit(records, CANVAS, orientation), Whole(), []
        monkeypatch.setattr(detector, "eval", lambda before=before: before.append(len(decoded)))
        score(detector, split, [Recorder()], batch_size=3, device=CPU, processes=Processes(rank, 2))
        assert before == [0]
        assert len(decoded) == sum(shape[0] for shape in detector.batches) < len(records)
        names += decoded
        seen.append(split.count_seen(everything))
        assert seen[-1] == len(decoded)
    assert sorted(names) == sorted(record.name for record in records)
    assert sum(seen) == len(records)


@pytest.mark.parametrize("made", [lambda record: record, unfiled])
def test_batches_are_made_without_decoding(mixed, monkeypatch, made):
    records = [made(record) for record in open_data(f"coco:{mixed}", seed=0).splits["train"]]
    known = StreamedSplit(records, CANVAS, "either")
    known.images(range(len(known)))
    monkeypatch.setattr(streaming, "read_for_canvas", lambda *_, **__: pytest.fail("decoded"))
    announced = StreamedSplit(records, CANVAS, "either")
    differing = [
        announced.names[index]
        for index in range(len(announced))
        if announced.is_transposed(index) != known.is_transposed(index)
    ]
    assert differing == (["wrong.jpg"] if made is unfiled else [])  # nothing but its annotation says how that stands
    assert sorted(index for batch in batches_by_canvas(announced, 3) for index in batch) == list(range(len(announced)))


def test_an_image_that_is_annotated_in_the_other_orientation_is_scored_whole(mixed):
    records = [unfiled(record) for record in open_data(f"coco:{mixed}", seed=0).splits["train"]]
    recorder = Recorder()
    score(Whole(), StreamedSplit(records, CANVAS, "either"), [recorder], batch_size=3, device=CPU)
    sizes = [(record.read().shape[1], record.read().shape[0]) for record in records]
    for (width, height), one, target in zip(sizes, recorder.predictions, recorder.targets, strict=True):
        assert target["size"].tolist() == [width, height]
        assert torch.allclose(one["boxes"], torch.tensor([[0.0, 0.0, width, height]]), atol=1e-3)


def test_one_canvas_is_scored_in_order(splits):
    count = len(splits["fixed"])
    found = list(batches_by_canvas(splits["fixed"], 4))
    assert found == [list(range(first, min(first + 4, count))) for first in range(0, count, 4)]


def test_a_weights_file_says_the_orientation_and_older_ones_are_fixed():
    description = DetectorDescription("b@4_1-2-2", ("cat",), DetectorSettings(), CANVAS, "batch", "either")
    said = description.metadata()
    assert DetectorDescription.from_metadata(said, "x") == description
    older = {key: value for key, value in said.items() if key != "orientation"}
    assert DetectorDescription.from_metadata(older, "x").orientation == "fixed"
    with pytest.raises(WeightsError, match="x says that its orientation is 'sideways': it must be 'fixed' or 'either'"):
        DetectorDescription.from_metadata({**said, "orientation": "sideways"}, "x")


def test_advice_on_anchors_knows_the_canvas_of_standing_images():
    none = {"labels": np.ones(1, np.int64), "ignore": np.zeros(1, bool)}
    box = np.asarray([[0, 0, 60, 60]], np.float32)
    records = [ImageRecord("a", lambda: None, 600, 1000, box, **none)]
    least = {
        one: suggest(records, [4.0], [1.0], (1000, 600), orientation=one)["least_side"] for one in ("fixed", "either")
    }
    assert least == pytest.approx({"fixed": 36, "either": 60})


def test_a_training_scores_what_evaluate_scores_and_predict_finds_in_either_orientation(mixed, tmp_path):
    settings = tiny_settings(
        data=f"coco:{mixed}", data_options={}, epochs=8, image_size=(96, 64), orientation="either", cache="encoded"
    )
    result = train(settings, tmp_path / "out")
    assert max(result.scores.values()) > 0
    report = evaluate(result.weights, f"coco:{mixed}", split="test", out=tmp_path / "drawn")
    assert report.metrics == pytest.approx(dict(result.scores), nan_ok=True)
    photograph(60, 200).save(tmp_path / "standing.jpg")
    found = predict(result.weights, [tmp_path / "standing.jpg", mixed / "images" / "photo0.jpg"], out=tmp_path / "seen")
    assert not found.failed
    for image in found.images:
        assert (image.boxes[:, 2:] <= [image.width, image.height]).all()
