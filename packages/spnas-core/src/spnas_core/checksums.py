"""Digests of files, by which is noticed what a disk or somebody has altered."""

import hashlib
from pathlib import Path


def file_checksum(path: Path) -> str:
    """Return the BLAKE2b digest of a file's content, 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=32)).hexdigest()
