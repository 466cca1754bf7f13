"""Searches as child processes, and what is expected of one after whatever was done to it."""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import moody_plugin
from click.testing import CliRunner

from spnas_search.cli.main import commands, main
from spnas_search.run import read_archive

INLINE = ("--set", "executor.name=inline", "--set", "executor.cores=1")
WORKERS = ("--set", "executor.workers=2", "--set", "executor.cores=2")
NULL = [
    *("moody", "--set", "task.name=moody"),
    *("--set", "task.noise=0.02", "--set", "task.duration=0.02"),
    *("--set", "strategy.pool=2", "--set", "strategy.epochs=1"),
    *("--set", "budget.candidates=8", "--set", "final.seeds=2"),
]


def content(out: Path) -> list[tuple]:
    """Everything that the archive holds, but for how long it took."""
    with read_archive(out) as archive:
        return [
            (c.id, c.round, c.kind, c.parent, c.rewrite, c.epochs, c.split, c.age, c.seed, c.threads, c.status, c.reason)
            + (repr(sorted(c.metrics.items())), sorted(c.cost.items()), repr(sorted(c.receipt.items())), c.checksum)
            for c in archive
        ]


@dataclass
class Search:
    """A search that something is done to.

    Attributes:
        out: folder of the run.
        settings: arguments of ``spnas run``.
        rng: chooses moments, files, bytes.
        whole: seconds that the undisturbed search takes.
        log: what child processes have printed.
    """

    out: Path
    settings: list[str]
    rng: random.Random
    whole: float
    log: list[str] = field(default_factory=list)

    @property
    def has_begun(self) -> bool:
        return (self.out / "run.toml").exists() or (self.out / "archive.db").exists()

    def arguments(self) -> list[str]:
        """Go on where it has begun, else start."""
        return ["run", "--out", str(self.out), *(["--resume"] if self.has_begun else self.settings)]

    @contextlib.contextmanager
    def running(self, before: Callable[[], None] = lambda: None) -> Iterator["Child"]:
        """Let the search run in a child process; whatever is left of it at the end is killed."""
        child = Child(self.arguments(), before)
        try:
            yield child
        finally:
            child.kill()
            self.log.append(child.output())
            child.log.unlink()

    def run_a_while(self) -> None:
        """Run for a random part of the whole, and kill everything."""
        with self.running():
            self.wait()

    def wait(self) -> None:
        time.sleep(self.rng.uniform(0, 1) * self.whole)


class Child:
    """``spnas`` in a forked process, in a process group of its own: it starts at once, since all is imported."""

    def __init__(self, arguments: list[str], before: Callable[[], None]) -> None:
        self.log = Path(os.environ["SPNAS_TEST_LOGS"]) / f"{time.monotonic_ns()}.log"
        self.code: int | None = None
        self.pid = os.fork()
        if self.pid == 0:
            self._become(arguments, before)

    def _become(self, arguments: list[str], before: Callable[[], None]) -> None:
        code = 70
        try:
            os.setpgid(0, 0)
            descriptor = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(descriptor, 1)
            os.dup2(descriptor, 2)
            sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
            sys.stderr = os.fdopen(2, "w", encoding="utf-8", closefd=False)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            before()
            sys.argv = ["spnas", *arguments]
            main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
        except BaseException:  # noqa: BLE001 - the child must not return into the tests
            traceback.print_exc()
        finally:
            with contextlib.suppress(Exception):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(code)

    def ended(self, seconds: float) -> bool:
        """Wait for its end; say whether it has come."""
        deadline = time.monotonic() + seconds
        while self.code is None and time.monotonic() < deadline:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.code = os.waitstatus_to_exitcode(status)
            else:
                time.sleep(0.01)
        return self.code is not None

    def send(self, number: int) -> None:
        if not self.ended(0.0):
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def workers(self) -> list[int]:
        """Process numbers of its children."""
        found = subprocess.run(["pgrep", "-P", str(self.pid)], capture_output=True, text=True, check=False)
        return [int(line) for line in found.stdout.split()]

    def kill(self) -> None:
        """Kill it with its process group; its workers, in groups of their own, end with it."""
        if self.code is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)
            self.send(signal.SIGKILL)
            self.ended(20.0)

    def output(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace") if self.log.exists() else ""


def resumed(search: Search) -> str | None:
    """Go on to the end; return the one line of a refusal, None where there was none.

    Raises:
        AssertionError: a traceback, another exit code, or not exactly one line.
    """
    result = CliRunner().invoke(commands, search.arguments())
    search.log.append(result.output)
    return refusal(result.exit_code, result.output, result.exception)


def refusal(code: int, output: str, error: BaseException | None = None) -> str | None:
    """Return the one line of a refusal; None for a search that came to its end."""
    assert error is None or isinstance(error, SystemExit), repr(error)
    if code == 0:
        return None
    assert code == 2, (code, output)
    lines = [line for line in output.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, output
    return lines[0]


@contextlib.contextmanager
def in_mood(**moods: str) -> Iterator[None]:
    """Let the moody plugin be in a mood."""
    path = Path(os.environ[moody_plugin.VARIABLE])
    path.with_suffix(".new").write_text(json.dumps(moods))
    path.with_suffix(".new").replace(path)
    try:
        yield
    finally:
        path.unlink()
