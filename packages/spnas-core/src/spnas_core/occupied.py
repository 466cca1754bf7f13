"""What a folder is taken by: each search, training, study and comparison has one of its own."""

from collections.abc import Collection
from pathlib import Path

from spnas_core.errors import ConfigError

RUN, SERIES, STUDY = "a run", "a series of searches", "a study"
TRAINING, COMPARISON = "a training", "a comparison"

MARKERS = {
    "run.toml": RUN,
    "archive.db": RUN,
    "series.toml": SERIES,
    "study.toml": STUDY,
    "trainings.jsonl": STUDY,
    "train.toml": TRAINING,
    "plan.json": COMPARISON,
    "compare.json": COMPARISON,
}
"""Files that only one kind of thing leaves in its folder, and what that is."""


def check_not_taken(folder: Path, own: Collection[str]) -> None:
    """Refuse a folder that holds something of another kind than what begins in it.

    Args:
        folder: there or not.
        own: what may begin, or go on, in it; its own files are the caller's to look at.

    Raises:
        ConfigError: what it holds.
        OSError: the folder cannot be looked into.
    """
    for name, kind in MARKERS.items():
        if kind not in own and (folder / name).exists():
            raise ConfigError(f"{folder} holds {kind} ({name}): choose another --out")
