"""What is installed: versions of distributions, and which of them differ."""

from collections.abc import Collection, Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version

from spnas_core.plugins import plugin_origins


def versions_of(distributions: Collection[str]) -> dict[str, str]:
    """Return the versions of distributions and of every plugin's, where they are installed, by name."""
    found = {}
    for name in sorted({*distributions, *plugin_origins().values()}):
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # a plugin that was registered by hand
            continue
    return found


def other_versions(
    before: Mapping[str, str], now: Mapping[str, str], noted: Collection[str]
) -> Iterator[tuple[str, str | None, str | None]]:
    """Yield distributions whose versions differ, with both, None for one that is not installed, by name.

    Args:
        before: as they were noted.
        now: as they are.
        noted: distributions that are always noted; one that ``before`` lacks was not among these yet.
    """
    for name in sorted(before.keys() | now.keys()):
        then, today = before.get(name), now.get(name)
        if then != today and not (then is None and name in noted):
            yield name, then, today
