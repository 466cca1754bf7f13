"""What ``spnas plan`` leaves in the folder of a run that is planned, so that its report can say how far off it was."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from spnas_core.commands.json_text import to_json
from spnas_core.durable import write_durably
from spnas_core.errors import MALFORMED, ConfigError

if TYPE_CHECKING:
    from spnas_search.planning import Plan

FILE = "planned.json"


@dataclass(frozen=True)
class PlannedPhase:
    """A phase as it was foreseen: its name, and seconds of one worker."""

    name: str
    seconds: float


@dataclass(frozen=True)
class Planned:
    """A plan as it was made before.

    Attributes:
        phases: in order.
        workers: evaluations at a time.
        seconds: until the end.
    """

    phases: tuple[PlannedPhase, ...]
    workers: int
    seconds: float


def write_plan(plan: "Plan", folder: Path) -> Path:
    """Leave a plan in the folder of the run that it is of, which is made where it is missing; returns the file.

    Raises:
        ConfigError: it cannot be written.
    """
    file = folder / FILE
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_durably(file, to_json(asdict(plan), indent=2) + "\n")
    except OSError as error:
        raise ConfigError(f"{file} cannot be written: {error.strerror}; name another folder by --out") from error
    return file


def read_plan(folder: Path) -> Planned | None:
    """Read the plan of a run; None where there is none.

    Raises:
        ConfigError: it was altered.
    """
    file = folder / FILE
    if not file.is_file():
        return None
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
        phases = tuple(PlannedPhase(str(one["name"]), float(one["seconds"])) for one in values["phases"])
        return Planned(phases, int(values["workers"]), float(values["seconds"]))
    except (OSError, *MALFORMED) as error:
        raise ConfigError(
            f"{file} holds no plan ({error}): remove it, or make it anew with spnas plan --out"
        ) from error
