"""What a reader mended or left out, counted, so that whoever uses the data set knows of it."""

from collections import Counter
from dataclasses import dataclass

CLIPPED = "boxes that leave their image, clipped"
SIZE_FROM_FILE = "image sizes that were missing or unusable, taken from the image file"

_SHOWN = 3


@dataclass(frozen=True)
class Repair:
    """One way in which parts of a data set were mended, or were left out.

    Attributes:
        what: the parts in the plural, and what became of them, such as ``boxes that leave their image, clipped``.
        count: number of parts.
        places: the first three files or images that have them.
    """

    what: str
    count: int
    places: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.what}: {self.count}, first {', '.join(self.places)}"

    def as_dict(self) -> dict[str, object]:
        """Return the attributes by name."""
        return {"what": self.what, "count": self.count, "places": list(self.places)}


class RepairCollector:
    """Counts repairs by what they are, in the order of their first occurrence."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._places: dict[str, list[str]] = {}

    @property
    def found(self) -> tuple[Repair, ...]:
        """The repairs so far, one per kind."""
        return tuple(Repair(what, count, tuple(self._places[what])) for what, count in self._counts.items())

    def add(self, what: str, where: object) -> None:
        """Count one repair.

        Args:
            what: as ``Repair`` has it.
            where: the file or image.
        """
        self._counts[what] += 1
        places, place = self._places.setdefault(what, []), str(where)
        if len(places) < _SHOWN and place not in places:
            places.append(place)
