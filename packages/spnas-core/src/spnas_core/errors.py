"""Errors that are the user's to mend: each message names the invariant, the value, and what to do."""

import difflib
from collections.abc import Iterable, Sequence


class SpnasError(ValueError):
    """A mistake in what the user gave; the command line prints it as one line and exits with code 2."""


class CodeError(SpnasError):
    """An architecture code that does not parse or that describes an impossible network."""


class SpaceError(SpnasError):
    """An architecture outside the search space, or a search space that contains nothing."""


class PluginError(SpnasError):
    """A plugin that is broken, or two plugins that claim the same name."""


class DataError(SpnasError):
    """A data set that cannot be read or that holds nothing to learn from."""


class ConfigError(SpnasError):
    """A setting that is unknown, of the wrong kind, or out of its range."""


class WeightsError(SpnasError):
    """A weights file that is missing, damaged, or of another architecture."""


class ArchiveError(SpnasError):
    """A run folder that is held by another process, of another version, or not a run at all."""


class MachineError(SpnasError):
    """The machine lacks what every evaluation needs (disk space, file handles, …): no candidate is to blame."""


class HeldError(ArchiveError):
    """A folder that another process works in, or that cannot be held."""


class ExportError(SpnasError):
    """A network that a format cannot express, or that another library computes otherwise."""


class EvaluationError(RuntimeError):
    """A candidate's evaluation that ended without a score, with the reason that the archive keeps."""


MALFORMED = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError)
"""What it may raise to read plain values, such as JSON, out of a file that somebody has altered; besides OSError."""

MOST_NAMES = 60
"""Known names that a message lists; of more it says how many there are."""


def suggestion(name: str, known: Iterable[str], elsewhere: Sequence[str] = ()) -> str:
    """Return ``; did you mean 'x'?`` for the nearest known name, or else the known names, if they are few.

    Args:
        name: that is not known.
        known: names that are.
        elsewhere: what may be meant where none of ``known`` is near; it is named in their place.
    """
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if close:
        return f"; did you mean {close[0]!r}?"
    if elsewhere:
        return f"; elsewhere there is {', '.join(elsewhere)}"
    if len(names) > MOST_NAMES:
        return f"; known are {len(names)}, such as {', '.join(names[:3])}"
    return f"; known: {', '.join(names)}" if names else ""
