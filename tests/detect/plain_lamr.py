"""EuroCity Persons' protocol read line by line, image by image, box by box: slow, and easy to check.

Shares nothing with the metric. The tests compare the two; the benchmark times them.
"""

import math
import re

import numpy as np

LIMITS = {  # least height, greatest height, least occlusion, first occlusion and truncation that is too much
    "reasonable": (40, None, None, 40),
    "small": (30, 60, None, 40),
    "occluded": (40, None, 40, 80),
    "all": (20, None, None, 80),
}
GROUPS = {"pedestrian": "person-group-far-away", "rider": "rider+vehicle-group-far-away"}
OTHER = {"pedestrian": "rider", "rider": "pedestrian"}


def clipped(box):
    x1, y1, x2, y2 = (float(value) for value in box)
    return min(max(x1, 0), 1920), min(max(y1, 0), 1024), min(max(x2, 0), 1920), min(max(y2, 0), 1024)


def per_cent(tags, word):
    found = [int(re.findall(r"\d+", tag)[0]) for tag in tags if tag.startswith(word)]
    return max(found, default=0)


def must_be_found(box, tags, kind, difficulty):
    least, greatest, least_occlusion, too_much = LIMITS[difficulty]
    height = box[3] - box[1]
    occlusion, truncation = per_cent(tags, "occluded"), per_cent(tags, "truncated")
    if kind == "pedestrian" and ("sitting-lying" in tags or "behind-glass" in tags):
        return False
    if height < least or (greatest is not None and height > greatest):
        return False
    if least_occlusion is not None and occlusion < least_occlusion:
        return False
    return occlusion < too_much and truncation < too_much


def truths_of(target, classes, kind, difficulty, tolerant):
    """List (box, state) with state real, ignored or region."""
    truths = []
    owns = target.get("own_boxes", target["boxes"])
    for corners, own, label, ignore, tags in zip(
        target["boxes"], owns, target["labels"], target["ignore"], target["tags"], strict=True
    ):
        box = clipped(corners)
        name = classes[int(label) - 1]
        if ignore:
            if GROUPS[kind] in tags and "depiction" not in tags:
                truths.append((box, "region"))
        elif name == kind:
            truths.append((box, "real" if must_be_found(box, tags, kind, difficulty) else "ignored"))
        elif name == OTHER[kind] and tolerant:
            truths.append((clipped(own), "ignored"))
    return truths


def detections_of(prediction, classes, kind, difficulty):
    """List (score, box), best first."""
    least, greatest, _, _ = LIMITS[difficulty]
    detections = []
    for corners, score, label in zip(prediction["boxes"], prediction["scores"], prediction["labels"], strict=True):
        box = clipped(corners)
        height = box[3] - box[1]
        if classes[int(label) - 1] != kind or height <= least / 1.25:
            continue
        if greatest is None or height < greatest * 1.25:
            detections.append((float(score), box))
    return sorted(detections, key=lambda detection: -detection[0])


def overlap(detection, truth, state):
    width = min(detection[2], truth[2]) - max(detection[0], truth[0])
    height = min(detection[3], truth[3]) - max(detection[1], truth[1])
    if width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    own = (detection[2] - detection[0]) * (detection[3] - detection[1])
    if state == "region":
        return shared / own
    return shared / (own + (truth[2] - truth[0]) * (truth[3] - truth[1]) - shared)


def match(detections, truths):
    """Give (score, outcome) per detection: a hit is 1, a false positive 0, neither None."""
    taken, found = set(), []
    for score, box in detections:
        best = best_ignored = None
        for index, (truth, state) in enumerate(truths):
            if index in taken:
                continue
            value = overlap(box, truth, state)
            if value < 0.5:
                continue
            if state != "real":
                best_ignored = index
            elif best is None or value >= best[0]:
                best = (value, index)
        if best is not None:
            taken.add(best[1])
            found.append((score, 1))
        else:
            found.append((score, 0 if best_ignored is None else None))
    return found


def plain_lamr(predictions, targets, classes, kind, difficulty, tolerant):
    """Compute one score; nan without an annotation that must be found."""
    positives, found = 0, []
    for prediction, target in zip(predictions, targets, strict=True):
        truths = truths_of(target, classes, kind, difficulty, tolerant)
        positives += sum(state == "real" for _, state in truths)
        found += match(detections_of(prediction, classes, kind, difficulty), truths)
    if positives == 0:
        return math.nan
    hits = misses = 0
    curve = []
    for _, outcome in sorted(found, key=lambda one: -one[0]):
        hits += outcome == 1
        misses += outcome == 0
        curve.append((misses / len(targets), hits / positives))
    logarithms = []
    for step in range(9):
        reference = 10 ** (-2 + step / 4)
        recall = 0.0
        for rate, value in curve:
            if rate <= reference:
                recall = value
        logarithms.append(math.log(max(1e-10, 1 - recall)))
    return math.exp(sum(logarithms) / 9)


def plain_scores(predictions, targets, classes):
    """Compute all sixteen scores by name."""
    return {
        f"LAMR/{kind}/{difficulty}{'/tolerant' if tolerant else ''}": plain_lamr(
            predictions, targets, classes, kind, difficulty, tolerant
        )
        for tolerant in (False, True)
        for kind in GROUPS
        for difficulty in LIMITS
    }


def random_scenes(rng, images, detections, objects, *, grid=4, classes=("pedestrian", "rider")):
    """Draw street scenes whose boxes, heights and scores coincide often.

    Args:
        rng: of everything.
        images: how many.
        detections: at most, per image.
        objects: at most, per image.
        grid: pixels between possible corners.
        classes: the labels' names.
    """
    kinds = [
        "",
        "",
        "",
        "",
        "occluded>10",
        "occluded>40",
        "occluded>80",
        "truncated>10",
        "truncated>40",
        "truncated>80",
    ]
    more = ["", "", "", "", "", "sitting-lying", "behind-glass", "depiction", "skin-visible"]
    groups = [*GROUPS.values(), "bicycle-group"]
    heights = np.array([16, 20, 24, 28, 30, 32, 36, 40, 44, 60, 64, 75, 76, 120, 300], float)
    predictions, targets = [], []
    for _ in range(images):
        count = int(rng.integers(0, objects + 1)) if rng.random() < 0.85 else 0
        labels = rng.integers(1, len(classes) + 1, count)
        tall = rng.choice(heights, count)
        corner = np.round(rng.uniform(-30, 1900, (count, 2)) * (1, 0.53) / grid) * grid
        boxes = np.stack(
            [corner[:, 0], corner[:, 1], corner[:, 0] + np.maximum(tall / 2, grid), corner[:, 1] + tall], 1
        )
        if count > 2:
            boxes[1] = boxes[0]  # two truths at one place
        ignore = rng.random(count) < 0.2
        tags = []
        for flag in ignore:
            found = [rng.choice(groups)] if flag else []
            found += [tag for tag in (rng.choice(kinds), rng.choice(kinds), rng.choice(more)) if tag]
            tags.append(tuple(str(tag) for tag in found))
        own = boxes.copy()  # of a rider, the upper part without half of the vehicle's width
        is_rider = labels == classes.index("rider") + 1
        own[is_rider, 2:] -= (0.3, 0.25) * (boxes[is_rider, 2:] - boxes[is_rider, :2])
        fixed = {"labels": labels, "ignore": ignore, "tags": tuple(tags), "size": (1920, 1024)}
        targets.append({"boxes": boxes, "own_boxes": own, **fixed})
        number = int(rng.integers(0, detections + 1)) if rng.random() < 0.9 else 0
        near = rng.integers(0, max(count, 1), number)
        is_own = rng.random(number)[:, None] < 0.3
        drawn = np.where(is_own, own[near], boxes[near]) if count else np.tile([500.0, 400, 520, 440], (number, 1))
        drawn = drawn + np.round(rng.normal(0, 6, (number, 4)) / grid) * grid
        drawn[:, 2:] = np.maximum(drawn[:, 2:], drawn[:, :2])
        near_labels = labels[near] if count else np.ones(number, int)
        guessed = np.where(rng.random(number) < 0.8, near_labels, rng.integers(1, len(classes) + 1, number))
        predictions.append({"boxes": drawn, "scores": rng.integers(1, 15, number) / 15, "labels": guessed})
    return predictions, targets
