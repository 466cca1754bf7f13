"""What kind of item belongs to each noun: the attributes that its users need, and names that can be asked for.

Both are checked when a plugin registers an item.
"""

import inspect
from collections.abc import Mapping, Sequence

from spnas_core.errors import suggestion
from spnas_core.plugins.claims import other_names, written_names

_BUILDS = ("summary", "settings", "build")
_CALLED = "__call__"

KINDS: Mapping[str, Mapping[str, Sequence[str]]] = {
    "blocks": {
        "BlockSpec": ("name", "aliases", "summary", "check", "out_channels", "layers", "build", "silent_norm"),
        "BlockFamily": ("name", "summary", "examples", "read"),
    },
    "stems": {"StemSpec": ("name", "summary", "pools", "check", "layers", "build")},
    "backbones": {"BackboneProvider": ("summary", "names", "build")},
    "morphisms": {"Morphism": ("name", "summary", "options", "__hash__")},
    "strategies": {"StrategyPlugin": _BUILDS},
    "screens": {"ScreenPlugin": _BUILDS},
    "tasks": {"TaskPlugin": _BUILDS},
    "executors": {"ExecutorPlugin": _BUILDS},
    "datasets": {"Reader": (_CALLED,)},
    "necks": {"NeckFactory": (_CALLED,)},
    "detectors": {"DetectorFactory": (_CALLED,)},
    "metrics": {"MetricFactory": ("summary", "specs", "build", "check")},
    "presets": {"Preset": ("name", "file", "summary", "machine", "table", "text", "explained")},
    "exporters": {"ExporterPlugin": ("summary", "export")},
    "contracts": {"function that makes a suite": (_CALLED,)},
    "commands": {"click.Command": ("name", "make_context", "get_short_help_str", "main")},
}
"""By noun: the kinds that are taken, with the attributes of each that must be there and not None."""

_SEPARATORS = {"blocks": "_@+~: ", "stems": "_@+~: ", "backbones": "~: ", "necks": "~: ", "datasets": ":"}
"""By noun: what a name ends at where it is written, in a code or before a path; a blank is any, or invisible."""

_SAY_THEIR_NAMES = frozenset({"blocks", "stems", "morphisms", "presets"})
"""Nouns whose items have the name, too, that they are registered under."""


def item_mistake(noun: str, name: object, item: object) -> str | None:
    """Say in words what is wrong with an item that a plugin registers; None where nothing is.

    What an attribute holds is not asked, but for names: properties may read files. ``plugins check`` goes further.

    Args:
        noun: what it is registered among.
        name: that it is registered under.
        item: what is registered.
    """
    if not isinstance(name, str) or not name.strip():
        return f"registers {name!r} among the {noun}: a name must be a text"
    kinds = KINDS.get(noun, {})
    if not kinds or any(not _lacking(item, attributes) for attributes in kinds.values()):
        try:
            mistake = _name_mistake(noun, name, item)
        except Exception as error:  # noqa: BLE001 - whatever a property of a plugin's raises
            mistake = f"and asked for its names it raises {type(error).__name__}: {error}"
        return None if mistake is None else f"registers {name!r} among the {noun}, {mistake}"
    wanted = " or ".join(kinds)
    what = f"registers {name!r} among the {noun}, which must be a {wanted}, and"
    if isinstance(item, type):
        return f"{what} is the class {item.__name__}: register an instance"
    if item is None:
        return f"{what} is None"
    lacking = min((_lacking(item, attributes) for attributes in kinds.values()), key=len)
    if _CALLED in lacking:
        return f"{what} is {type(item).__name__}: it cannot be called"
    return f"{what} is {type(item).__name__} without {', '.join(lacking)}"


def _name_mistake(noun: str, name: str, item: object) -> str | None:
    """Say why an item could not be asked for by its names; None where it can be."""
    own = getattr(item, "name", None) if noun in _SAY_THEIR_NAMES else name
    if own != name:
        return f"and its own name is {own!r}: both must be the same"
    if noun == "presets" and name.endswith(".toml"):
        return "which names a file: leave out .toml"
    if noun == "contracts" and name not in KINDS:
        return f"and nothing else is registered among these{suggestion(name, KINDS)}"
    others = other_names(noun, item)
    if not isinstance(others, tuple | list) or not all(isinstance(one, str) for one in others):
        return f"and its other names are {others!r:.80}: they must be a tuple of texts"
    for one in written_names(noun, name, item):
        if (letter := _separator(noun, one)) is not None:
            return f"and a name ends there at {letter!r}: write {one!r} without"
    return None


def _separator(noun: str, name: str) -> str | None:
    """Return the first letter of a name that no name among a noun can have."""
    ends = _SEPARATORS.get(noun, "")
    return next((one for one in name if (" " if one.isspace() or not one.isprintable() else one) in ends), None)


def _lacking(item: object, attributes: Sequence[str]) -> list[str]:
    """Return the attributes that an item has not; all of a class, where instances are registered."""
    if isinstance(item, type):
        return [] if _CALLED in attributes else list(attributes)
    return [attribute for attribute in attributes if not _has(item, attribute)]


def _has(item: object, attribute: str) -> bool:
    try:
        return inspect.getattr_static(item, attribute) is not None
    except AttributeError:
        pass
    try:  # what is found dynamically, as by __getattr__
        return getattr(item, attribute, None) is not None
    except Exception:  # noqa: BLE001 - an attribute of a plugin's that raises is not there
        return False
