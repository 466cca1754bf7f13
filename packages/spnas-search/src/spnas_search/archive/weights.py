"""Weights files of a run: complete or absent, and known by their checksum."""

import hashlib
import os
import re
from collections.abc import Iterable
from itertools import count
from pathlib import Path

from spnas_core.checksums import file_checksum
from spnas_core.durable import replace_durably
from spnas_core.errors import MachineError, WeightsError

NO_WEIGHTS = hashlib.blake2b(digest_size=32).hexdigest()
"""Checksum of an empty file: what an evaluation leaves that has trained nothing."""
_SUFFIX = ".safetensors"
_WEIGHTS = re.compile(r"(\d+)\.safetensors")
_TEMPORARY = re.compile(r"\.\d+-\d+-\d+\.safetensors")


class WeightStore:
    """A folder with one file per candidate.

    An evaluation writes to a temporary path; ``commit`` makes the file durable and gives it its name in one
    step, so that a file with a candidate's name is always complete. Only the process that holds the run's
    lock may write.

    Args:
        folder: made where it does not exist.

    Raises:
        MachineError: it cannot be made.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise MachineError(f"folder {folder} cannot be made: {error.strerror}") from error
        self._numbers = count()
        self._handed_out: set[Path] = set()
        self._known: dict[int, tuple[tuple[int, int], str]] = {}

    def path(self, candidate: int) -> Path:
        """Where a candidate's weights are, if it has any."""
        return self.folder / f"{candidate}{_SUFFIX}"

    def temporary(self, candidate: int) -> Path:
        """Return a new path for an evaluation to write to."""
        path = self.folder / f".{candidate}-{os.getpid()}-{next(self._numbers)}{_SUFFIX}"
        self._handed_out.add(path)
        return path

    def commit(self, temporary: Path, candidate: int) -> str:
        """Make a complete file the candidate's weights.

        A crash at any moment leaves the old file or the new one, never a part.

        Returns:
            The checksum: BLAKE2b, 64 hexadecimal digits.

        Raises:
            WeightsError: there is no such file.
            MachineError: the disk is full, or does not take the file.
        """
        path = self.path(candidate)
        try:
            checksum = file_checksum(temporary)
            replace_durably(temporary, path)
        except FileNotFoundError as error:
            raise WeightsError(
                f"the evaluation of candidate {candidate} has written no weights: {temporary} is missing"
            ) from error
        except OSError as error:
            raise MachineError(f"weights {path} cannot be written: {error.strerror}") from error
        self._handed_out.discard(temporary)
        self._known[candidate] = (_stamp(path), checksum)
        return checksum

    def discard(self, temporary: Path) -> None:
        """Remove what a failed evaluation has left."""
        temporary.unlink(missing_ok=True)
        self._handed_out.discard(temporary)

    def verify(self, candidate: int, checksum: str) -> bool:
        """Whether a candidate's file is there and unaltered; read only where its time or size has changed."""
        path = self.path(candidate)
        try:
            stamp = _stamp(path)
            known = self._known.get(candidate)
            if known is None or known[0] != stamp:
                known = (stamp, file_checksum(path))
                self._known[candidate] = known
        except OSError:
            return False
        return known[1] == checksum

    def keep_only(self, candidates: Iterable[int]) -> None:
        """Delete the weights of all other candidates; files of other names are left alone."""
        kept = set(candidates)
        for path in list(self.folder.iterdir()):
            match = _WEIGHTS.fullmatch(path.name)
            if match and int(match[1]) not in kept:
                path.unlink(missing_ok=True)
                self._known.pop(int(match[1]), None)

    def clean(self) -> None:
        """Remove what killed processes have left half-written.

        Process numbers come back (in a container nearly always), so a leftover is told by not being ours:
        whatever this store has not handed out itself, since nobody else holds the run's lock.
        """
        for path in list(self.folder.iterdir()):
            if _TEMPORARY.fullmatch(path.name) and path not in self._handed_out:
                path.unlink(missing_ok=True)


def _stamp(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_mtime_ns, status.st_size
