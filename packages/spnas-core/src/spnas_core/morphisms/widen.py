"""Widen, narrow and halve: move where the channels double, let them double once more, or once less."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from spnas_core.encoding import Architecture
from spnas_core.errors import CodeError
from spnas_core.morphisms._base import Applications, Rewrite, Step
from spnas_core.networks.layout import block_placements

KEEPS = 1e-4


@dataclass(frozen=True)
class Widen:
    """Turns a ``1`` into a ``2``, or moves a ``2`` to an earlier block.

    Channels are repeated, and what reads them shares its weights out among the copies, so outputs, compared through
    the channel map, do not change. Nothing is promised where a shortcut comes or goes: where the block that loses its
    ``2`` had a projection for that alone, or, of types without projections, where a block begins or ends to double;
    and nothing of norms that are not affine (``Rewrite.promise_with``): copies stand in other groups than originals.

    Attributes:
        max_step: most blocks by which one application moves a ``2``.
    """

    max_step: int = 2
    name: str = "widen"
    summary: str = (
        "double the channels once more, or earlier; outputs change by at most 1e-4 while no shortcut comes or goes"
    )

    def options(self, architecture: Architecture) -> Sequence[Rewrite]:
        """Every ``1`` that can double, then every ``2`` × every step to an earlier ``1``."""
        doubled = [(at, at) for at, digit in enumerate(architecture.digits) if digit == "1"]
        most = min(self.max_step, len(architecture.digits))
        sites = doubled + moves(architecture, range(-1, -most - 1, -1))
        return Applications(sites, lambda site: self._rewrite(architecture, *site))

    def double(self, architecture: Architecture, block: int) -> Rewrite:
        """Let a block double the channels, and so widen it and all behind it.

        Args:
            architecture: the parent.
            block: index of a ``1``.

        Raises:
            CodeError: there is no such block, or it doubles already.
        """
        if not 0 <= block < len(architecture.digits) or architecture.digits[block] != "1":
            raise CodeError(f"block {block} of {architecture} is no 1 that could become a 2")
        return self._rewrite(architecture, block, block)

    def move(self, architecture: Architecture, block: int, to: int) -> Rewrite:
        """Let the channels double earlier.

        Args:
            architecture: the parent.
            block: index of the ``2``.
            to: index of a ``1`` in front of it, at most ``max_step`` away.

        Raises:
            CodeError: there are no such blocks.
        """
        check_move(architecture, block, to, block - to, self.max_step)
        return self._rewrite(architecture, block, to)

    def _rewrite(self, architecture: Architecture, block: int, to: int) -> Rewrite:
        child = with_digits(architecture, {block: "1", to: "2"})
        detail = f"doubling moved from block {block + 1} to {to + 1}"
        if block == to:
            detail = f"block {to + 1} doubles the channels"
        return _step(architecture, child, self.name, detail, KEEPS if _keeps_shortcuts(architecture, child) else None)


@dataclass(frozen=True)
class Narrow:
    """Moves a ``2`` to a later block; the channels of the largest batch norm scale stay.

    Attributes:
        max_step: most blocks by which one application moves a ``2``.
    """

    max_step: int = 2
    name: str = "narrow"
    summary: str = "double the channels later; no promise, the change is measured"

    def options(self, architecture: Architecture) -> Sequence[Rewrite]:
        """Every ``2`` × every step to a later ``1``."""
        most = min(self.max_step, len(architecture.digits))
        sites = moves(architecture, range(1, most + 1))
        return Applications(sites, lambda site: self._rewrite(architecture, *site))

    def move(self, architecture: Architecture, block: int, to: int) -> Rewrite:
        """Let the channels double later.

        Args:
            architecture: the parent.
            block: index of the ``2``.
            to: index of a ``1`` behind it, at most ``max_step`` away.

        Raises:
            CodeError: there are no such blocks.
        """
        check_move(architecture, block, to, to - block, self.max_step)
        return self._rewrite(architecture, block, to)

    def _rewrite(self, architecture: Architecture, block: int, to: int) -> Rewrite:
        child = with_digits(architecture, {block: "1", to: "2"})
        return _step(architecture, child, self.name, f"doubling moved from block {block + 1} to {to + 1}", None)


@dataclass(frozen=True)
class Halve:
    """Turns a ``2`` into a ``1``, back from ``Widen.double``; the channels of the largest batch norm scale stay.

    From that block on everything is half as wide. With ``Remove`` and ``Narrow`` it leads to networks that do more of
    their work early, with fewer channels.
    """

    name: str = "halve"
    summary: str = "let the channels double once less; no promise, the change is measured"

    def options(self, architecture: Architecture) -> Sequence[Rewrite]:
        """Every ``2``."""
        sites = [at for at, digit in enumerate(architecture.digits) if digit == "2"]
        return Applications(sites, lambda site: self.halve(architecture, site))

    def halve(self, architecture: Architecture, block: int) -> Rewrite:
        """Let a block keep the channels, and so halve those of it and of all behind it.

        Args:
            architecture: the parent.
            block: index of a ``2``.

        Raises:
            CodeError: there is no such block, or it does not double.
        """
        if not 0 <= block < len(architecture.digits) or architecture.digits[block] != "2":
            raise CodeError(f"block {block} of {architecture} is no 2 that could become a 1")
        child = with_digits(architecture, {block: "1"})
        return _step(architecture, child, self.name, f"block {block + 1} keeps the channels", None)


def moves(architecture: Architecture, steps: Iterable[int]) -> list[tuple[int, int]]:
    """List (index of a ``2``, index of a ``1``) that are one of the steps apart."""
    digits = architecture.digits
    twos = [at for at, digit in enumerate(digits) if digit == "2"]
    return [
        (at, at + step) for at in twos for step in steps if 0 <= at + step < len(digits) and digits[at + step] == "1"
    ]


def check_move(architecture: Architecture, block: int, to: int, distance: int, most: int) -> None:
    """Refuse a move that is none.

    Raises:
        CodeError: naming both blocks.
    """
    digits = architecture.digits
    inside = min(block, to) >= 0 and max(block, to) < len(digits)
    if not inside or digits[block] != "2" or digits[to] != "1" or not 1 <= distance <= most:
        raise CodeError(
            f"the doubling of block {block} of {architecture} cannot move to block {to}: it moves from a 2 to a 1, "
            f"counted from 0, by 1 to {most} blocks"
        )


def with_digits(architecture: Architecture, changed: dict[int, str]) -> Architecture:
    """Return an architecture with other blocks at the same borders."""
    digits = "".join(changed.get(at, digit) for at, digit in enumerate(architecture.digits))
    return Architecture.from_borders(architecture, digits, architecture.borders)


def _keeps_shortcuts(parent: Architecture, child: Architecture) -> bool:
    """Whether every block's shortcut gives what it gave; a new projection does, since it passes its input through."""
    kept = {("identity", "identity"), ("identity", "projection"), ("projection", "projection"), ("none", "none")}
    pairs = zip(block_placements(parent), block_placements(child), strict=True)
    return all((before.shortcut, after.shortcut) in kept for before, after in pairs)


def _step(parent: Architecture, child: Architecture, name: str, detail: str, promise: float | None) -> Rewrite:
    return Rewrite(parent, child, tuple(range(len(child.digits))), (Step(name, detail, promise),))
