"""A worker process as its parent sees it."""

import multiprocessing
import os
import signal
import time
from collections.abc import Sequence
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection

from spnas_core.tasks import EvaluationRequest
from spnas_search.executors.worker import work


class WorkerProcess:
    """One process that evaluates a request at a time; started when it is made.

    Attributes:
        slot: number among the workers; decides on the device.
        connection: the parent's end of the pipe.
        process: of the operating system.
        ready: whether it has the task.
        request: that it has been given and not answered; None where it is idle.
        has_taken: whether it has begun with that.

    Args:
        slot: number among the workers.
        devices: that the workers share; empty without CUDA.
    """

    def __init__(self, slot: int, devices: Sequence[str]) -> None:
        # Spawned, not forked: a forked child inherits threads' locks and a CUDA context that it cannot use.
        context = multiprocessing.get_context("spawn")
        self.slot = slot
        self.connection: Connection
        self.connection, theirs = context.Pipe()
        # Not a daemon: a daemon must not have children, and tasks have data loaders.
        self.process = context.Process(
            target=work, args=(theirs, os.getpid(), slot, list(devices)), name="spnas-worker", daemon=False
        )
        self.ready = False
        self.request: EvaluationRequest | None = None
        self.has_taken = False
        self._since = 0.0
        # Blocked signals stay blocked in the child: Ctrl-C reaches the whole terminal, and a worker that is
        # still importing would answer with a traceback. The tracker unblocks SIGINT when it starts, so it
        # starts before.
        resource_tracker.ensure_running()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            self.process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        theirs.close()

    @property
    def idle(self) -> bool:
        """Whether it waits for a request."""
        return self.ready and self.request is None

    @property
    def seconds(self) -> float:
        """Since it was given its request."""
        return time.monotonic() - self._since

    def give(self, request: EvaluationRequest, data: bytes) -> None:
        """Send a pickled request.

        Raises:
            OSError: the process has died.
        """
        self.send(data)
        self.request, self.has_taken, self._since = request, False, time.monotonic()

    def send(self, data: bytes) -> None:
        """Send a pickled message.

        Raises:
            OSError: the process has died.
        """
        self.connection.send_bytes(data)

    def ended(self) -> str | None:
        """How the process ended, once it has; None while it runs."""
        code = self.process.exitcode
        if code is None:
            return None
        if code >= 0:
            return f"worker ended with exit code {code}"
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = "unknown"
        hint = ": often the kernel's answer to too little memory" if -code == signal.SIGKILL else ""
        return f"worker ended by signal {-code} ({name}){hint}"

    def kill(self) -> None:
        """End the process and its children at once."""
        # Only while it runs: the number of a process that has been waited for may be another's by now.
        if self.process.is_alive():
            try:
                os.killpg(self.process.pid or 0, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                self.process.kill()  # it has not yet made its group
        self.process.join()
        self.connection.close()
        self.process.close()

    def leave(self, deadline: float) -> None:
        """Let the process end by itself, and end it at the deadline."""
        self.connection.close()
        self.process.join(max(0.0, deadline - time.monotonic()))
        self.kill()
