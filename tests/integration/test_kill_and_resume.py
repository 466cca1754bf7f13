"""Killing a search at any moment loses nothing that was finished and changes no decision."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from commands import done

from spnas_search.run import read_archive

NULL = [
    *("--set", "task.name=null"),
    *("--set", "task.noise=0.02"),
    *("--set", "budget.candidates=12"),
]
INLINE = ("--set", "executor.name=inline")
WORKERS = ("--set", "executor.workers=2", "--set", "executor.cores=2")
TINY = [
    *("--set", "task.image_size=[64, 64]"),
    *("--set", "task.data_options={image_size = 64, max_size = 32, train = 24, validation = 8, test = 8}"),
    *("--set", "start=b@8_1-2-2-2"),
    *("--set", "warm_start_epochs=2"),
    *("--set", "strategy.epochs=1"),
    *("--set", "budget.candidates=8"),
    *("--set", "noise_seeds=2"),
    *("--set", "final.epochs=1"),
    *("--set", "final.seeds=2"),
    *WORKERS,
]


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-c", "from spnas_search.cli import main; main()", *arguments]


def finish(out: Path, *arguments: str) -> None:
    result = subprocess.run(
        command("run", "--out", str(out), *arguments), capture_output=True, text=True, check=False, timeout=600
    )
    assert result.returncode == 0, result.stdout + result.stderr


def content(out: Path) -> list[tuple]:
    """Everything that the archive holds, but for how long it took and what the clock decided."""
    with read_archive(out) as archive:
        return [
            (
                c.id,
                c.round,
                c.kind,
                c.parent,
                c.rewrite,
                c.epochs,
                c.age,
                c.seed,
                c.threads,
                c.status,
                repr(sorted(c.metrics.items())),
                sorted(c.cost.items()),
                repr(sorted(c.receipt.items())),
                c.checksum,
            )
            for c in archive
        ]


def kill_at_random(out: Path, settings: list[str], moments: list[float]) -> int:
    """Start or resume, kill with SIGKILL after each moment in turn; return how often the search was still running."""
    killed = 0
    for moment in moments:
        arguments = ["--resume"] if (out / "run.toml").exists() else settings
        process = subprocess.Popen(
            command("run", "--out", str(out), *arguments), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            process.wait(timeout=moment)
        except subprocess.TimeoutExpired:
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            killed += 1
    return killed


def seconds_of(out: Path, settings: list[str]) -> float:
    begin = time.monotonic()
    finish(out, *settings)
    return time.monotonic() - begin


@pytest.mark.parametrize("seed", [0])
def test_a_search_killed_again_and_again_ends_as_an_undisturbed_one(tmp_path, seed):
    settings = ["--set", f"seed={seed}", *NULL, *WORKERS, "--set", "task.duration=0.2"]
    whole = seconds_of(tmp_path / "undisturbed", settings)
    rng = random.Random(seed)
    # Start-up takes a few seconds, in which there is nothing to lose: most moments lie behind it.
    moments = [rng.uniform(0.4 * whole, 0.7 * whole) for _ in range(2)]
    killed = kill_at_random(tmp_path / "killed", settings, moments)
    assert killed >= 1
    if (tmp_path / "killed" / "run.toml").exists():
        done("run", "--out", tmp_path / "killed", "--resume")
    else:
        done("run", "--out", tmp_path / "killed", *settings)
    assert content(tmp_path / "killed") == content(tmp_path / "undisturbed")


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_a_detection_search_killed_ten_times_ends_with_the_same_metrics_and_weights(tmp_path):
    whole = seconds_of(tmp_path / "undisturbed", TINY)
    rng = random.Random(1)
    moments = [rng.uniform(0.2 * whole, 0.6 * whole) for _ in range(10)]
    assert kill_at_random(tmp_path / "killed", TINY, moments) >= 3
    finish(tmp_path / "killed", "--resume")
    assert content(tmp_path / "killed") == content(tmp_path / "undisturbed")


def test_the_same_seed_gives_the_same_search_and_another_seed_another(tmp_path):
    for name, seed in (("one", 3), ("two", 3), ("other", 4)):
        done("run", "--out", tmp_path / name, "--set", f"seed={seed}", *NULL, *INLINE)
    assert content(tmp_path / "one") == content(tmp_path / "two")
    assert content(tmp_path / "one") != content(tmp_path / "other")


def test_the_number_of_workers_does_not_change_the_search(tmp_path):
    done("run", "--out", tmp_path / "two", *NULL, *WORKERS)
    done("run", "--out", tmp_path / "one", *NULL, *INLINE)

    def decisions(out):
        return [(*row[:8], *row[9:]) for row in content(out)]  # all but the threads

    assert decisions(tmp_path / "one") == decisions(tmp_path / "two")


def test_weights_that_were_altered_or_lost_are_made_again(tmp_path):
    undisturbed, disturbed = tmp_path / "undisturbed", tmp_path / "disturbed"
    done("run", "--out", undisturbed, *NULL, *INLINE)
    process = subprocess.Popen(
        command("run", "--out", str(disturbed), *NULL, *INLINE, "--set", "task.duration=0.3"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    wait_for_children(disturbed, 6)
    process.kill()
    process.wait()
    files = sorted((disturbed / "weights").glob("[0-9]*.safetensors"))
    assert len(files) >= 3
    files[0].write_bytes(files[0].read_bytes()[:-3])
    files[1].unlink()
    altered = bytearray(files[2].read_bytes())
    altered[-1] ^= 1
    files[2].write_bytes(altered)
    done("run", "--out", disturbed, "--resume")
    assert content(disturbed) == content(undisturbed)


def wait_for_children(out: Path, count: int) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if (out / "archive.db").exists():
            with read_archive(out) as archive:
                if sum(candidate.status == "done" for candidate in archive.of_kind("child")) >= count:
                    return
        time.sleep(0.2)
    raise AssertionError(f"the search did not finish {count} children in time")
