"""What ``spnas verify --keep`` leaves in a run's folder, for its report."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from spnas_core.commands.json_text import to_json
from spnas_core.durable import write_durably
from spnas_core.errors import MALFORMED, ConfigError
from spnas_search.run.verification import Finding

FILE = "verified.json"


@dataclass(frozen=True)
class Verified:
    """Findings, and when they were made, for people."""

    when: str
    findings: tuple[Finding, ...]


def write_verified(verified: Verified, folder: Path) -> None:
    """Leave findings in a run's folder; earlier ones are replaced.

    Raises:
        ConfigError: they cannot be written.
    """
    try:
        write_durably(folder / FILE, to_json(asdict(verified), indent=2) + "\n")
    except OSError as error:
        raise ConfigError(f"{folder / FILE} cannot be written: {error.strerror}; leave out --keep") from error


def read_verified(folder: Path) -> Verified | None:
    """Read the findings in a run's folder; None where there are none.

    Raises:
        ConfigError: they were altered.
    """
    file = folder / FILE
    if not file.is_file():
        return None
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
        return Verified(str(values["when"]), tuple(_finding(**one) for one in values["findings"]))
    except (OSError, *MALFORMED) as error:
        raise ConfigError(f"{file} holds no findings ({error}): remove it, or verify anew with --keep") from error


def _finding(part: object, found: object, holds: object) -> Finding:
    if holds not in {True, False, None}:
        raise ValueError(f"holds is {holds!r}")
    return Finding(str(part), str(found), None if holds is None else bool(holds))


def words(finding: Finding) -> str:
    """Say of a finding whether it holds."""
    return "unknown" if finding.holds is None else "holds" if finding.holds else "DIFFERS"
