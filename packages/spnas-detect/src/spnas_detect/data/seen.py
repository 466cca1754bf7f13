"""Which images a detector was trained on, small enough for its weights file, whatever they are called elsewhere.

An image is known by six bytes of its ``pixel_digest``. Among a hundred thousand training images and ten
thousand others one of the others is taken for a training image with a probability of 10⁹ / 2⁴⁸ = 4 in a million.
"""

import base64
import binascii
from collections.abc import Iterable
from dataclasses import dataclass

KEPT_BYTES = 6


@dataclass(frozen=True)
class SeenImages:
    """A set of images.

    Attributes:
        digests: the first ``KEPT_BYTES`` of each image's digest.
    """

    digests: frozenset[bytes] = frozenset()

    @classmethod
    def of(cls, digests: Iterable[bytes]) -> "SeenImages":
        """Make a set of whole digests, or of their beginnings."""
        return cls(frozenset(digest[:KEPT_BYTES] for digest in digests))

    @classmethod
    def from_text(cls, text: str) -> "SeenImages":
        """Read what ``text`` wrote.

        Raises:
            ValueError: it is something else.
        """
        try:
            joined = base64.b64decode(text, validate=True)
        except binascii.Error as error:
            raise ValueError(str(error)) from None
        if len(joined) % KEPT_BYTES:
            raise ValueError(f"{len(joined)} bytes are no digests of {KEPT_BYTES}")
        return cls(frozenset(joined[start : start + KEPT_BYTES] for start in range(0, len(joined), KEPT_BYTES)))

    def text(self) -> str:
        """Write the set in eight letters per image, in an order that depends on nothing else."""
        return base64.b64encode(b"".join(sorted(self.digests))).decode()

    def __len__(self) -> int:
        return len(self.digests)

    def __contains__(self, digest: bytes) -> bool:
        return digest[:KEPT_BYTES] in self.digests

    def __or__(self, other: "SeenImages") -> "SeenImages":
        return SeenImages(self.digests | other.digests)
