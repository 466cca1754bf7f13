"""The classes of a COCO data set, merged over its files by their names."""

from collections.abc import Collection, Iterable, Mapping, Sequence

from spnas_core.errors import DataError, suggestion
from spnas_detect.data.faults import FaultCollector
from spnas_detect.data.repairs import RepairCollector

Identifier = int | str
"""Of a category or an image; a number wherever it can be read as one."""


def merge_classes(
    files: Mapping[str, Mapping[Identifier, str]],
    used: Iterable[str],
    given: object,
    repairs: RepairCollector,
    faults: FaultCollector,
) -> tuple[str, ...]:
    """Return the names of the labels 1…C.

    A class is a name, whatever its ids: those of two files of one data set need not agree. The order is that of the id
    in the first file that has the class. Example: with cat 1, dog 2 in the first file and dog 1, owl 2, cat 3 in the
    second, the classes are cat, dog, owl.

    Args:
        files: names of categories by id, under what messages call the file; the training file first.
        used: names of classes that have a box, in any file.
        given: the option ``classes``; None takes the classes that have a box.
        repairs: takes classes that were merged or left out.
        faults: takes classes with a box that the option leaves out, and names of it that no file has.

    Raises:
        DataError: an option that is no list of different names.
    """
    found: dict[str, tuple[bool, Identifier, int]] = {}
    for position, categories in enumerate(files.values()):
        for identifier in sorted(categories, key=_order):
            found.setdefault(categories[identifier], (*_order(identifier), position))
    _report_ids(files, found, repairs)
    present = set(used)
    if given is not None:
        return _given_classes(given, sorted(present), found, faults)
    names = sorted(found, key=lambda name: (found[name][0], found[name][1], found[name][2]))
    for name in names:
        if name not in present:
            repairs.add("categories without a box in any split, left out", repr(name))
    return tuple(name for name in names if name in present)


def _order(identifier: Identifier) -> tuple[bool, Identifier]:
    return isinstance(identifier, str), identifier


def _report_ids(files: Mapping[str, Mapping[Identifier, str]], names: Iterable[str], repairs: RepairCollector) -> None:
    for name in names:
        ids = {file: [key for key, value in found.items() if value == name] for file, found in files.items()}
        for file, own in ids.items():
            if len(own) > 1:
                repairs.add("names that several categories of a file have, joined", f"{name!r} in {file}")
        different = list(dict.fromkeys(tuple(sorted(own, key=_order)) for own in ids.values() if own))
        if len(different) > 1:
            listed = " and ".join("/".join(map(str, own)) for own in different)
            repairs.add("classes with other category ids in other files, merged by name", f"{name!r} ({listed})")


def _given_classes(
    given: object, used: Sequence[str], known: Collection[str], faults: FaultCollector
) -> tuple[str, ...]:
    classes = tuple(name for name in given if isinstance(name, str)) if isinstance(given, list | tuple) else ()
    if not isinstance(given, list | tuple) or not classes or len(set(classes)) != len(given):
        raise DataError(f"coco classes is {given!r}: it must be a list of different names")
    for name in used:
        if name not in classes:
            text = f"the annotations have boxes of the class {name!r}{suggestion(name, classes)}"
            faults.add("unknown class", name, text)
    for name in classes:
        if name not in known:
            text = f"coco classes has {name!r}, which is a category of no file{suggestion(name, known)}"
            faults.add("unknown class", name, text)
    return classes
