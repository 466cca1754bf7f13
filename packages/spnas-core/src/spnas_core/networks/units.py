"""Names of a network's parts, in codes and in weights files."""

from dataclasses import dataclass
from typing import Literal

from spnas_core.encoding import Architecture
from spnas_core.errors import CodeError

Kind = Literal["stem", "main", "row", "fusion"]
_MODULES: dict[Kind, str] = {"stem": "stem", "main": "blocks", "row": "rows", "fusion": "fusions"}
_INDICES: dict[Kind, int] = {"stem": 0, "main": 1, "row": 3, "fusion": 2}
_KINDS = {module: kind for kind, module in _MODULES.items()}


@dataclass(frozen=True, order=True)
class Unit:
    """A part of a network that inherits as a whole.

    ====================  ==========================================================================  ================
    text                  what it is                                                                  its module
    ====================  ==========================================================================  ================
    ``stem``              the stem                                                                    ``stem``
    ``main.3``            block 3 of the main path, counted from 0 along the whole sequence           ``blocks.3``
    ``row.4.1.0``         in stage 4, row 1 (both counted from 1), the block at position 0 of the     ``rows.4.1.0``
                          stage
    ``fusion.4.1``        in stage 4, the connection from row 1 into the next row down                ``fusions.4.1``
    ====================  ==========================================================================  ================

    Attributes:
        kind: which of the four.
        at: the numbers behind it.

    Raises:
        CodeError: more or fewer numbers than the kind has.
    """

    kind: Kind
    at: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if len(self.at) != _INDICES[self.kind]:
            raise CodeError(f"{self} is no unit: {self.kind} is followed by {_INDICES[self.kind]} numbers")

    def __str__(self) -> str:
        return ".".join((self.kind, *map(str, self.at)))

    @property
    def module(self) -> str:
        """Name of its module inside the backbone."""
        return ".".join((_MODULES[self.kind], *map(str, self.at)))


def main(index: int) -> Unit:
    """Name a block of the main path."""
    return Unit("main", (index,))


def split_name(name: str) -> tuple[Unit, str]:
    """Split a backbone's tensor name into the unit and the name inside it.

    Example: ``rows.4.1.0.bn1.weight`` is ``bn1.weight`` of ``row.4.1.0``.

    Raises:
        CodeError: no backbone has a tensor of that name.
    """
    module, *rest = name.split(".")
    kind = _KINDS.get(module)
    if kind is None or not all(part.isdecimal() for part in rest[: _INDICES[kind]]):
        raise CodeError(f"{name!r} is no tensor of a backbone")
    count = _INDICES[kind]
    return Unit(kind, tuple(map(int, rest[:count]))), ".".join(rest[count:])


def units(architecture: Architecture) -> tuple[Unit, ...]:
    """List the units of an architecture: stem, main path, then stage by stage the rows and their fusions."""
    found = [Unit("stem"), *(main(index) for index in range(len(architecture.digits)))]
    for stage, (count, digits) in enumerate(zip(architecture.rows, architecture.stages, strict=False), 1):
        for row in range(1, count + 1):
            found += [Unit("row", (stage, row, position)) for position in range(len(digits))]
            found.append(Unit("fusion", (stage, row)))
    return tuple(found)
