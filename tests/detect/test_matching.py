"""Which detections are told as found, missed and false: against the rule in plain Python."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from spnas_detect.inference.matching import match_images


@st.composite
def scenes(draw):
    """Per image detections and annotations on a coarse grid, so that overlaps and ties abound."""
    images = draw(st.integers(0, 3))
    predictions, targets = [], []
    for _ in range(images):
        found, true = (
            draw(st.lists(st.tuples(*[st.integers(0, 4)] * 2, *[st.integers(1, 3)] * 2, st.integers(1, 2)), max_size=5))
            for _ in range(2)
        )
        scores = sorted(draw(st.lists(st.sampled_from([0.2, 0.5, 0.9]), min_size=len(found), max_size=len(found))))
        predictions.append(
            {
                "boxes": torch.tensor([(x, y, x + w, y + h) for x, y, w, h, _ in found], dtype=torch.float32).view(
                    -1, 4
                ),
                "scores": torch.tensor(scores[::-1], dtype=torch.float32),
                "labels": torch.tensor([label for *_, label in found], dtype=torch.int64),
            }
        )
        ignore = draw(st.lists(st.booleans(), min_size=len(true), max_size=len(true)))
        targets.append(
            {
                "boxes": torch.tensor([(x, y, x + w, y + h) for x, y, w, h, _ in true], dtype=torch.float32).view(
                    -1, 4
                ),
                "labels": torch.tensor([label for *_, label in true], dtype=torch.int64),
                "ignore": torch.tensor(ignore, dtype=torch.bool),
            }
        )
    return predictions, targets


def overlap(one, other, *, region):
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    inter = max(width, 0) * max(height, 0)
    area, other_area = ((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    return inter / area if region else inter / (area + other_area - inter)


def plainly_matched(prediction, target, threshold):
    """The rule, image by image and box by box."""
    boxes, labels = target["boxes"].tolist(), target["labels"].tolist()
    ignore, found, outcomes = target["ignore"].tolist(), [False] * len(boxes), []
    detections = zip(*(prediction[name].tolist() for name in ("boxes", "scores", "labels")), strict=True)
    for box, score, label in detections:
        if score < threshold:
            continue
        mine = [i for i, other in enumerate(labels) if other == label]
        free = [(overlap(box, boxes[i], region=False), -i) for i in mine if not ignore[i] and not found[i]]
        best = max(free, default=(0.0, 0))
        if best[0] >= 0.5:
            found[-best[1]] = True
            outcomes.append(1)
        else:
            inside = any(overlap(box, boxes[i], region=True) >= 0.5 for i in mine if ignore[i])
            outcomes.append(-1 if inside else 0)
    return found, outcomes


@given(scenes())
def test_matching_follows_the_rule_in_plain_python(scene):
    predictions, targets = scene
    matches = match_images(predictions, targets, 2, 0.5)
    assert len(matches) == len(predictions)
    for match, prediction, target in zip(matches, predictions, targets, strict=True):
        found, outcomes = plainly_matched(prediction, target, 0.5)
        assert match.found.tolist() == found
        assert match.outcome.tolist() == outcomes
        boxes = int((~target["ignore"]).sum())
        assert match.counts == (boxes, sum(found), outcomes.count(0))
        total = boxes + sum(found) + outcomes.count(0)
        assert match.f1 == (2 * sum(found) / total if total else 1.0)
