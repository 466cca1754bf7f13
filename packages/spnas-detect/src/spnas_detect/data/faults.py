"""What is wrong with a data set, fault by fault, so that one look finds all of it."""

import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from spnas_core.commands.wording import shortened
from spnas_core.errors import DataError

BROKEN_ANNOTATION, MISSING_IMAGE, UNREADABLE_IMAGE = "broken annotation", "missing image", "unreadable image"

_SHOWN = 5
_WHY_LEFT_OUT = {
    MISSING_IMAGE: "that are missing",
    BROKEN_ANNOTATION: "whose annotations are broken",
    UNREADABLE_IMAGE: "that do not decode",
}

_T = TypeVar("_T")


@dataclass(frozen=True)
class Fault:
    """Something wrong with a data set.

    Attributes:
        kind: such as ``unreadable image``.
        where: the file, image or split that has it.
        text: what is wrong, with its values.
        is_fatal: whether the data cannot be used; other faults are worth a look.
    """

    kind: str
    where: str
    text: str
    is_fatal: bool = True

    def as_dict(self) -> dict[str, str]:
        """Return kind, place and text by name."""
        return {"kind": self.kind, "where": self.where, "text": self.text}


class FaultyDataError(DataError):
    """A data set that cannot be used; the message has the first fault, and says how to list the others.

    Args:
        spec: of the data set; None where no command lists its faults, so that the message has the first five.
        faults: all that were found, at least one.
    """

    def __init__(self, spec: str | None, faults: Iterable[Fault]) -> None:
        self.spec = spec
        self.faults = tuple(faults)
        super().__init__(_summary(spec, self.faults))

    def __reduce__(self) -> tuple[type["FaultyDataError"], tuple[str | None, tuple[Fault, ...]]]:
        return FaultyDataError, (self.spec, self.faults)


def _summary(spec: str | None, faults: tuple[Fault, ...]) -> str:
    if len(faults) == 1:
        return faults[0].text
    if spec is None:
        return "; ".join([*(fault.text for fault in faults[:_SHOWN]), *(["…"] if len(faults) > _SHOWN else [])])
    more = "1 more fault" if len(faults) == 2 else f"{len(faults) - 1} more faults"
    return f"{faults[0].text}; and {more}: spnas data check {shlex.quote(spec)} lists all"


def refuse(spec: str, faults: Iterable[Fault]) -> None:
    """Refuse a data set that has a fatal fault.

    Raises:
        FaultyDataError: with all fatal faults.
    """
    fatal = [fault for fault in faults if fault.is_fatal]
    if fatal:
        raise FaultyDataError(spec, fatal)


def left_out(names: Sequence[str], split: str = "", why: str = "that do not decode") -> tuple[str, ...]:
    """Word the note on images that are no good, where the data is to be used without them.

    Args:
        names: of the images.
        split: what messages call their split.
        why: what is wrong with them.

    Returns:
        No note for no image, else one that names the first three.
    """
    if not names:
        return ()
    more = ", …" if len(names) > 3 else ""
    of_split = f" {split}" if split else ""
    return (f"{len(names)}{of_split} image(s) {why} left out: {', '.join(names[:3])}{more}",)


class FaultCollector:
    """Lets a reader go on after a fault.

    Args:
        spec: of the data set.
        on_fault: ``drop`` where images are left out whose file is missing or does not decode, or whose annotations are
            broken.
    """

    def __init__(self, spec: str, on_fault: str = "refuse") -> None:
        self._spec, self._on_fault = spec, on_fault
        self._found: list[Fault] = []
        self._left_out: dict[Fault, str] = {}  # names of images

    @property
    def found(self) -> tuple[Fault, ...]:
        """The faults so far, each once."""
        return tuple(dict.fromkeys(self._found))

    @property
    def notes(self) -> list[str]:
        """What is said of images that were left out for a fault of theirs."""
        return [
            note
            for kind, why in _WHY_LEFT_OUT.items()
            for note in left_out([name for fault, name in self._left_out.items() if fault.kind == kind], why=why)
        ]

    def of_image(self) -> "FaultCollector":
        """Return a collector for the faults of one image, which ``leaves_out`` takes in."""
        return FaultCollector(self._spec)

    def leaves_out(self, name: str, own: "FaultCollector") -> bool:
        """Take in the faults of one image; say whether it is to be left out as a whole, and count it then.

        Args:
            name: of the image.
            own: its faults. Those of the whole data set, such as unknown classes, leave no image out.
        """
        dropped = [fault for fault in own.found if self._on_fault == "drop" and fault.kind in _WHY_LEFT_OUT]
        self._found += [fault for fault in own.found if fault not in dropped]
        if dropped:
            self._left_out[dropped[0]] = name
        return bool(dropped)

    def add(self, kind: str, where: object, text: str) -> None:
        """Note a fault."""
        self._found.append(Fault(kind, str(where), shortened(text)))

    def add_images(self, reasons: Mapping[Path, str], kind: str) -> set[Path]:
        """Note a fault of each image file, with its reason; return the files of those that are left out for it."""
        files = set()
        for file, reason in reasons.items():
            own = self.of_image()
            own.add(kind, file, reason)
            if self.leaves_out(file.name, own):
                files.add(file)
        return files

    def attempt(self, kind: str, where: object, read: Callable[[], _T]) -> _T | None:
        """Return what a function gives; None, and a fault noted, where it meets a DataError or an OSError."""
        try:
            return read()
        except DataError as error:
            self.add(kind, where, str(error))
        except OSError as error:
            self.add(kind, where, f"{error.filename or where} cannot be looked at: {error.strerror or error}")
        return None

    @contextmanager
    def blamed(self) -> Iterator[None]:
        """Put a refusal inside down to the faults that were noted before: they come first, and it last.

        Faults that images were left out for count as well: without these images, little may be left.

        Raises:
            FaultyDataError: in the place of another DataError, where something was noted.
        """
        try:
            yield
        except DataError as error:
            found = [*self.found, *self._left_out]
            if not found:
                raise
            consequence = Fault("consequence", self._spec, str(error))
            raise FaultyDataError(self._spec, [*found, consequence]) from error
