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
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import moody_plugin
from dying import dies_at
from safetensors.numpy import load_file

from spnas_detect.jobs.folder import read_scores
from spnas_search.cli.main import main
from spnas_search.run import read_archive

PATIENCE = 120.0
"""Seconds after which something is thought to hang."""

INLINE = ("--set", "executor.name=inline", "--set", "executor.cores=1")
WORKERS = ("--set", "executor.workers=2", "--set", "executor.cores=2")
NULL = [
    *("moody", "--set", "task.name=moody"),
    *("--set", "task.noise=0.02", "--set", "task.duration=0.02"),
    *("--set", "strategy.pool=2", "--set", "strategy.epochs=1"),
    *("--set", "budget.candidates=8", "--set", "final.seeds=2"),
]
_PHASES = (
    "{name='moody', n_stuck=3, candidates=6, epochs=1, pool=2, "
    "reignition={most=1, pretrain_epochs=2, n_after=1}}, {name='parallel', candidates=3, epochs=1, pool=2}"
)
PHASES = [
    *("phases", "--set", "task.name=moody", "--set", "task.noise=0.02", "--set", "task.duration=0.01"),
    *("--set", f"strategy.phases=[{_PHASES}]"),
    *("--set", "space.max_multiply_adds=4x", "--set", "budget.candidates=20", "--set", "final.seeds=2"),
]
"""A serial phase with reignition, and a parallel one."""

DETECTION = [
    *("serial", "--set", "task.image_size=[64, 64]", "--set", "start=b@8_1-2-2-2", *INLINE),
    *("--set", "warm_start_epochs=1", "--set", "strategy.epochs=1", "--set", "budget.candidates=2"),
    *("--set", "final.seeds=1", "--set", "final.epochs=1"),
]
FULL_DETECTION = [
    *("full", "--set", "task.image_size=[64, 64]", "--set", "start=b@8_1-2-2-2", *INLINE),
    *("--set", "warm_start_epochs=1", "--set", "strategy.serial.epochs=1", "--set", "strategy.serial_candidates=3"),
    *("--set", "strategy.serial.n_stuck=2", "--set", "strategy.serial.reignition.pretrain_epochs=1"),
    *("--set", "strategy.serial.reignition.n_after=1", "--set", "task.pretraining.image_side=32"),
    *("--set", "strategy.parallel.epochs=1", "--set", "strategy.parallel_candidates=1", "--set", "noise_seeds=2"),
    *("--set", "space.max_multiply_adds=4x", "--set", "final.rescores=0", "--set", "budget.candidates=9"),
    *("--set", "final.seeds=1", "--set", "final.epochs=1"),
]
TRAINING = [
    *("b@8_1-2-2-2", "--set", "image_size=[64, 64]", "--set", "training.batch_size=8", "--epochs", "4"),
    *("--set", "checkpoint_steps=2"),
]


def content(out: Path) -> list[str]:
    """Everything that the archive holds, but for how long it took."""
    with read_archive(out) as archive:
        return [repr(replace(candidate, seconds=0.0)) for candidate in archive]


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
    def room(self) -> str:
        """Size of a disk that it has room on, and that is soon full."""
        return "4m" if self.is_null else "24m"

    @property
    def is_null(self) -> bool:
        """Whether nothing is trained."""
        return self.settings[0] in {"moody", "phases"}

    @property
    def has_begun(self) -> bool:
        return (self.out / "run.toml").exists() or (self.out / "archive.db").exists()

    def content(self) -> object:
        """What came of it, but for how long it took."""
        return content(self.out)

    def arguments(self) -> list[str]:
        """Go on where it has begun, else start."""
        return ["run", "--out", str(self.out), *(["--resume"] if self.has_begun else self.settings)]

    @contextlib.contextmanager
    def running(
        self, clock: float | None = None, more: Sequence[str] = (), dies: tuple[str, int] | None = None
    ) -> Iterator["Child"]:
        """Let the search run in a child process; whatever is left of it at the end is killed.

        Args:
            clock: what its clock always says; None for the real time.
            more: arguments.
            dies: place and count of ``dies_at``; None where it is not to die by itself.
        """
        child = (Forked if self.is_null else Child)([*self.arguments(), *more], clock, dies)
        try:
            yield child
        finally:
            child.kill()
            self.log.append(child.output())
            child.log.unlink(missing_ok=True)  # it may have been killed before it opened it

    def run_a_while(self) -> None:
        """Run for a random part of the whole, and kill everything."""
        with self.running():
            self.wait()

    def wait(self) -> None:
        time.sleep(self.rng.uniform(0, 1) * self.whole)


class Training(Search):
    """The same for ``spnas train``."""

    @property
    def has_begun(self) -> bool:
        return (self.out / "train.toml").exists() and (self.out / "checkpoint" / "checkpoint.safetensors").exists()

    def arguments(self) -> list[str]:
        if self.has_begun:
            return ["train", "--out", str(self.out), "--resume"]
        (self.out / "train.toml").unlink(missing_ok=True)  # it ended before its first checkpoint: begin again
        return ["train", *self.settings, "--out", str(self.out)]

    def content(self) -> object:
        weights = load_file(self.out / "weights.safetensors")
        return {name: array.tobytes() for name, array in weights.items()}, str(read_scores(self.out))


class Child:
    """``spnas`` in a process of its own."""

    def __init__(self, arguments: list[str], clock: float | None, dies: tuple[str, int] | None) -> None:
        self.log = Path(os.environ["SPNAS_TEST_LOGS"]) / f"{time.monotonic_ns()}.log"
        self.code: int | None = None
        self.pid = self._start(arguments, clock, dies)

    def _start(self, arguments: list[str], clock: float | None, dies: tuple[str, int] | None) -> int:
        patch = "" if clock is None else f"import time; time.time = lambda: {clock}; "
        if dies is not None:
            patch += f"from dying import dies_at; dies_at{dies}; "
        with self.log.open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-c", f"{patch}from spnas_search.cli import main; main()", *arguments],
                stdout=log,
                stderr=subprocess.STDOUT,
                process_group=0,
            )
        process.returncode = 0  # it is waited for below, not by the object that goes here
        return process.pid

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


class Forked(Child):
    """The same by a fork: it starts at once, since all is imported.

    Good for the null task only: a forked process has none of the threads that libraries have started to compute with.
    """

    def _start(self, arguments: list[str], clock: float | None, dies: tuple[str, int] | None) -> int:
        pid = os.fork()
        if pid == 0:
            self._become(arguments, clock, dies)
        return pid

    def _become(self, arguments: list[str], clock: float | None, dies: tuple[str, int] | None) -> None:
        code = 70
        try:
            os.setpgid(0, 0)
            descriptor = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(descriptor, 1)
            os.dup2(descriptor, 2)
            sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
            sys.stderr = os.fdopen(2, "w", encoding="utf-8", closefd=False)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            if clock is not None:
                time.time = lambda: clock
            if dies is not None:
                dies_at(*dies)
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


_RAISING = ("is in no mood", "odd_plugin.py")
"""What a traceback of a plugin that was told to raise contains."""


def resumed(search: Search) -> str | None:
    """Go on to the end; return the one line of a refusal, None where there was none.

    Raises:
        AssertionError: a traceback, another exit code, or not exactly one line.
    """
    with search.running() as child:
        assert child.ended(PATIENCE), "it does not come to its end"
        return refusal(child.code or 0, child.output())


def refusal(code: int, output: str) -> str | None:
    """Return the one line of a refusal; None for a search that came to its end."""
    if code == 0:
        return None
    if code in {130, 143} and "Stopped" in output:  # told so by a signal
        return None
    assert code == 2, (code, output)
    is_own_fault = any(place in output for place in _RAISING)  # which shows where it is
    assert "Traceback" not in output or is_own_fault, output
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
