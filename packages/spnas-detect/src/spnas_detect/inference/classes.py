"""Labels of a data set as a detector has them: classes are the same where their names are."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from spnas_core.errors import DataError, suggestion
from spnas_detect.data import DetectionData


def labelled_as(classes: Sequence[str], data: DetectionData, split: str, weights: str) -> DetectionData:
    """Give the boxes of a split the labels that a detector gives their classes, by name.

    Example: where a detector knows cat, dog and owl, and the data dog and cat, dog's label becomes 2 and cat's 1; owl,
    which nothing is annotated as, has no score.

    Args:
        classes: names of the detector's labels 1…C.
        data: the data set.
        split: the one that is scored; a class without a box there may be any.
        weights: what messages call the detector.

    Returns:
        The data with the detector's classes and that split alone, and notes on what is not scored; the same data where
        the classes are the same.

    Raises:
        DataError: the split has boxes of classes that the detector does not know.
    """
    if tuple(classes) == data.classes:
        return data
    records = tuple(data.splits[split])
    counts = Counter(int(label) for record in records for label in record.labels)
    unknown = {name: counts[label] for label, name in enumerate(data.classes, 1) if name not in classes}
    found = {name: count for name, count in unknown.items() if count}
    if found:
        listed = ", ".join(f"{name!r} ({count} box(es)){suggestion(name, classes)}" for name, count in found.items())
        raise DataError(
            f"the {split} split of {data.spec} has classes that {weights} was not trained on: {listed}; it knows "
            f"{', '.join(classes)}: call the classes of the data so, or train on them"
        )
    labels = np.array([0, *(classes.index(name) + 1 if name in classes else 0 for name in data.classes)], np.int64)
    return replace(
        data,
        classes=tuple(classes),
        splits={**dict.fromkeys(data.splits, ()), split: [replace(one, labels=labels[one.labels]) for one in records]},
        notes=(*data.notes, *_notes([name for name in classes if name not in data.classes], list(unknown))),
    )


def _notes(missing: Sequence[str], unknown: Sequence[str]) -> list[str]:
    notes = []
    if missing:
        notes.append(
            f"{len(missing)} class(es) of the weights have no score, since the data lacks them: {_few(missing)}"
        )
    if unknown:
        notes.append(f"{len(unknown)} class(es) of the data that the weights lack have no box here: {_few(unknown)}")
    return notes


def _few(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:5])) + (", …" if len(names) > 5 else "")
