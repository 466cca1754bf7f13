"""What the names of a data set's classes give reason to say."""

from collections.abc import Mapping, Sequence
from itertools import chain

import numpy as np

from spnas_detect.data._base import ImageRecord


def class_notes(classes: Sequence[str], splits: Mapping[str, Sequence[ImageRecord]]) -> tuple[str, ...]:
    """Say which names look like one class, and which classes nothing can be learnt of.

    Example: of ``Cat``, ``cat`` and ``traffic light``, ``trafficlight`` each pair is told, and stays apart.

    Args:
        classes: names of the labels 1…C.
        splits: the records under ``train``, ``validation`` and ``test``.

    Returns:
        One note per group of names that differ in case or blanks only, and one for all classes that have a box that
        counts in the validation or test split and none in the training split.
    """
    return (*_alike(classes), *_unlearnt(classes, splits))


def _alike(classes: Sequence[str]) -> list[str]:
    groups: dict[str, list[str]] = {}
    for name in classes:
        groups.setdefault("".join(name.split()).casefold(), []).append(name)
    return [
        f"classes {', '.join(map(repr, names))} differ in case or blanks only and stay apart: give them one name if "
        "they are one class"
        for names in groups.values()
        if len(names) > 1
    ]


def _unlearnt(classes: Sequence[str], splits: Mapping[str, Sequence[ImageRecord]]) -> list[str]:
    learnt = _labels(splits["train"])
    missing = sorted(_labels(chain(splits["validation"], splits["test"])) - learnt)
    if not missing:
        return []
    names = ", ".join(repr(classes[label - 1]) for label in missing)
    return [f"{len(missing)} class(es) have boxes in the validation or test split only, none to learn from: {names}"]


def _labels(records: "Sequence[ImageRecord] | chain[ImageRecord]") -> set[int]:
    return {int(label) for record in records for label in np.unique(record.labels[~record.ignore])}
