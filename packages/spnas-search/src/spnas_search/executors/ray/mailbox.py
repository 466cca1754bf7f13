"""Messages from evaluations to the search: a small actor on the node that the search is connected to."""

import pickle
from collections.abc import Iterator
from typing import Any

_PATIENCE_SECONDS = 30.0

Letter = tuple[str, int, int, Any]
"""Kind (``taken``, ``progress``), candidate, attempt, and what is said."""


def _mailbox() -> type:
    """Make the actor's class: inside of a function, so that it is sent by value and its process imports nothing."""
    import asyncio

    class Mailbox:
        def __init__(self) -> None:
            self._letters: list[bytes] = []
            self._arrived = asyncio.Event()

        async def post(self, letter: bytes) -> None:
            self._letters.append(letter)
            self._arrived.set()

        async def take(self, seconds: float) -> list[bytes]:
            """Return what has come; wait for it where there is nothing yet."""
            if not self._letters and seconds:
                try:
                    await asyncio.wait_for(self._arrived.wait(), seconds)
                except TimeoutError:
                    return []
            self._arrived.clear()
            letters, self._letters = self._letters, []
            return letters

        async def wake(self) -> None:
            """End a wait for letters."""
            self._arrived.set()

    return Mailbox


class Mail:
    """The search's side of the mailbox.

    Args:
        ray: the module, connected.
        home: node that it lies on.

    Attributes:
        actor: to be handed to evaluations.
        waiting: reference that is ready once there are letters.
    """

    def __init__(self, ray: Any, home: str) -> None:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        self._ray = ray
        here = NodeAffinitySchedulingStrategy(home, soft=True)
        self.actor = ray.remote(_mailbox()).options(num_cpus=0, max_restarts=-1, scheduling_strategy=here).remote()
        self.waiting = self.actor.take.remote(_PATIENCE_SECONDS)

    def take(self, *, everything: bool) -> Iterator[Letter]:
        """Yield letters that have come.

        Args:
            everything: whether to wait for what lies in the mailbox and is not here yet.
        """
        for letter in self._all() if everything else self._arrived():
            yield pickle.loads(letter)  # noqa: S301 - from our own evaluations

    def close(self) -> None:
        """End the actor."""
        self._ray.kill(self.actor)

    def _arrived(self) -> list[bytes]:
        ready, _ = self._ray.wait([self.waiting], timeout=0)
        if not ready:
            return []
        found = self._got(self.waiting)
        self.waiting = self.actor.take.remote(_PATIENCE_SECONDS)
        return found

    def _all(self) -> list[bytes]:
        """Take all that lies in the mailbox: a request that waits may hold it already, its answer being on the way."""
        self.actor.wake.remote()
        found = self._got(self.waiting)
        found += self._got(self.actor.take.remote(0.0))
        self.waiting = self.actor.take.remote(_PATIENCE_SECONDS)
        return found

    def _got(self, reference: Any) -> list[bytes]:
        try:
            found: list[bytes] = self._ray.get(reference)
        except self._ray.exceptions.RayError:  # its node or process was lost, and with it some progress
            return []
        return found


class Postman:
    """An evaluation's side of the mailbox.

    Args:
        ray: the module, in a worker.
        actor: the mailbox.
        candidate: that is evaluated.
        attempt: at it, from 1.
    """

    def __init__(self, ray: Any, actor: Any, candidate: int, attempt: int) -> None:
        self._ray, self._actor = ray, actor
        self._address = candidate, attempt
        self._last: Any = None

    def post(self, kind: str, what: object) -> None:
        """Send a letter, and wait for nothing."""
        self._last = self._actor.post.remote(pickle.dumps((kind, *self._address, what)))

    def settle(self) -> None:
        """Wait until all letters lie in the mailbox, or it is gone."""
        if self._last is not None:
            self._ray.wait([self._last], timeout=_PATIENCE_SECONDS)
