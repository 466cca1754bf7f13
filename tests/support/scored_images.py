"""Predictions and targets of images, drawn at random or written by hand, for metrics."""

import math

import numpy as np
import torch

CLASSES = ("cat", "dog", "owl")
A, B = [0, 0, 10, 10], [50, 50, 70, 70]


def random_images(seed, images=20, grid=1.0, classes=3, objects=6, with_ignored=True):
    """Draw targets, and predictions near them with ties in score and doubles."""
    rng = np.random.default_rng(seed)
    predictions, targets = [], []
    for _ in range(images):
        count = int(rng.integers(0, objects + 1))
        corner = rng.uniform(0, 200, (count, 2))
        sides = np.exp(rng.uniform(np.log(8), np.log(180), (count, 2)))
        boxes = np.round(np.concatenate([corner, corner + sides], 1) / grid) * grid
        labels = rng.integers(1, classes + 1, count)
        ignore = rng.random(count) < (0.2 if with_ignored else 0)
        targets.append({"boxes": boxes, "labels": labels, "ignore": ignore, "size": (400, 400)})
        near = rng.integers(0, max(count, 1), 2 * count)
        drawn = boxes[near] + rng.normal(0, 0.1, (2 * count, 4)) * np.tile(sides[near], 2)
        drawn[:, 2:] = np.maximum(drawn[:, 2:], drawn[:, :2] + 1)
        guessed = np.where(rng.random(2 * count) < 0.8, labels[near], rng.integers(1, classes + 1, 2 * count))
        predictions.append(
            {
                "boxes": np.round(drawn / grid) * grid,
                "scores": rng.integers(1, 20, 2 * count) / 20,
                "labels": guessed,
            }
        )
    return predictions, targets


def hostile_images(seed):
    """Draw a small set full of equal scores, equal boxes, crowds, empty images and missing classes."""
    rng = np.random.default_rng(seed)
    predictions, targets = random_images(seed, images=5, grid=(1.0, 10.0, 40.0)[seed % 3], objects=8)
    kept_truths, kept_found = (rng.permutation(3)[: rng.integers(1, 4)] + 1 for _ in range(2))
    for prediction, target in zip(predictions, targets, strict=True):
        for item in (prediction, target):
            item["boxes"][:, 2:] = np.maximum(item["boxes"][:, 2:], item["boxes"][:, :2] + 10)
        chosen = np.isin(target["labels"], kept_truths) & (rng.random() < 0.9)
        target.update({name: target[name][chosen] for name in ("boxes", "labels", "ignore")})
        doubled = np.repeat(np.arange(len(prediction["scores"])), rng.integers(0, 4))
        doubled = doubled[np.isin(prediction["labels"][doubled], kept_found)]
        prediction.update({name: prediction[name][doubled] for name in ("boxes", "labels", "scores")})
        prediction["scores"] = np.round(prediction["scores"] * 5) / 5
    if seed % 10 == 0:  # more detections of an image than COCO looks at
        many = {name: np.concatenate([values] * 30)[:150] for name, values in predictions[0].items()}
        predictions[0] = many
    return predictions, targets


def image(boxes=(), labels=None, ignore=None):
    return {
        "boxes": torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        "labels": torch.tensor(labels or [1] * len(boxes), dtype=torch.int64),
        "ignore": torch.tensor(ignore or [False] * len(boxes), dtype=torch.bool),
        "size": (100, 100),
    }


def found(*detections):
    """Take (box, score) or (box, score, label)."""
    return {
        "boxes": torch.tensor([d[0] for d in detections], dtype=torch.float32).reshape(-1, 4),
        "scores": torch.tensor([d[1] for d in detections], dtype=torch.float32),
        "labels": torch.tensor([d[2] if len(d) > 2 else 1 for d in detections], dtype=torch.int64),
    }


def close(one, other):
    return (math.isnan(one) and math.isnan(other)) or abs(one - other) < 1e-9
