"""Options that several commands have."""

from typing import Any

from spnas_core.configuration import read_assignment


def read_options(assignments: tuple[str, ...]) -> dict[str, Any]:
    """Read ``key=value`` pairs; a value is TOML, or text where it is none."""
    return dict(read_assignment("--data-option", assignment, "test=val.json") for assignment in assignments)
