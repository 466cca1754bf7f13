"""What is done to a search. Each act returns how to mend what it did, for searches that refuse to go on before."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import odd_plugin
from dying import PLACES
from mounts import mounted
from PIL import Image
from searches import PATIENCE, Search, in_mood, refusal, resumed

Mend = Callable[[], None]


def nothing() -> None:
    """There is nothing to mend."""


def kill_driver(search: Search) -> Mend:
    with search.running() as child:
        search.wait()
        child.send(signal.SIGKILL)
    return nothing


def die_at_a_seam(search: Search) -> Mend:
    """The driver is killed between two lines: a weights file has its name, say, and no row knows it yet."""
    with search.running(dies=(search.rng.choice(list(PLACES)), search.rng.randrange(1, 13))) as child:
        assert child.ended(PATIENCE)
        assert child.code == -signal.SIGKILL or refusal(child.code or 0, child.output()) is None, child.output()
    return nothing


def kill_worker(search: Search) -> Mend:
    """Kill one worker before it has anything to do, or at work: that fails its candidate, so the driver dies too."""
    with search.running() as child:
        search.wait()
        workers = child.workers()
        child.send(signal.SIGSTOP)  # it must not see the end of a worker before its own
        if workers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(search.rng.choice(workers), signal.SIGKILL)
        child.send(signal.SIGKILL)
        child.send(signal.SIGCONT)
    return nothing


def interrupt(search: Search) -> Mend:
    """Ctrl-C or SIGTERM, once or twice."""
    number = search.rng.choice([signal.SIGINT, signal.SIGTERM])
    with search.running() as child:
        search.wait()
        for _ in range(search.rng.choice([1, 1, 2])):
            child.send(number)
        assert child.ended(PATIENCE), "a search that was told to stop goes on"
    return nothing


def second_starter(search: Search) -> Mend:
    with search.running() as child:
        search.wait()
        said = resumed(search)
        assert said is None or "is held by" in said or "holds" in said, said
        child.ended(PATIENCE)
    return nothing


def file_damaged(search: Search) -> Mend:
    """Remove, truncate or alter any file of the run while it is down."""
    search.run_a_while()
    files = sorted(path for path in search.out.rglob("*") if path.is_file())
    if not files:
        return nothing
    file = search.rng.choice(files)
    whole = file.read_bytes()
    how = search.rng.choice(["remove", "truncate", "alter"])
    if file.name == "run.toml" and how == "alter":
        file.write_text(file.read_text().replace("pool = 2", "pool = 3"))
    elif how == "remove":
        file.unlink()
    elif how == "truncate":
        file.write_bytes(whole[: search.rng.randrange(len(whole) + 1)])
    elif whole:
        altered = bytearray(whole)
        altered[search.rng.randrange(len(altered))] ^= 1 << search.rng.randrange(8)
        file.write_bytes(bytes(altered))
    search.log.append(f"{how} {file}")
    before = {path: path.read_bytes() for path in files if path != file and path.exists()} | {file: whole}

    def mend() -> None:
        for path in list(search.out.rglob("*")):
            if path.is_file() and path not in before:
                path.unlink()
        for path, content in before.items():
            path.write_bytes(content)

    return mend


def read_only(search: Search) -> Mend:
    """The file system turns read-only while the search runs."""
    search.out.mkdir(parents=True, exist_ok=True)
    with mounted(search.out, "--bind", str(search.out)):
        with search.running() as child:
            search.wait()
            with contextlib.suppress(subprocess.CalledProcessError):  # it may be held by a file that is being written
                subprocess.run(["mount", "-o", "remount,ro,bind", str(search.out)], check=True, capture_output=True)
            assert child.ended(PATIENCE)
            refusal(child.code or 0, child.output())
        subprocess.run(["mount", "-o", "remount,rw,bind", str(search.out)], check=True, capture_output=True)
    return nothing


def disk_full(search: Search) -> Mend:
    """The disk is full, from some moment on."""
    shutil.rmtree(search.out, ignore_errors=True)
    room = search.out.with_name(f"{search.out.name}-room")
    with mounted(room, "-t", "tmpfs", "-o", f"size={search.room}", "tmpfs"):
        inside = type(search)(room / "run", search.settings, search.rng, search.whole, search.log)
        with inside.running() as child:
            search.wait()
            filler = room / "filler"
            with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
                while True:
                    file.write(bytes(4096))
            assert child.ended(PATIENCE)
            refusal(child.code or 0, child.output())
        if search.rng.random() < 0.5:  # resumed before there is room: refused, and nothing is lost
            resumed(inside)
        filler.unlink()
        assert resumed(inside) is None, "there is room again"
        shutil.copytree(inside.out, search.out)
    return nothing


def clock_set_back(search: Search) -> Mend:
    search.run_a_while()
    past = time.time() - search.rng.uniform(1, 1e8)
    for path in search.out.rglob("*"):
        os.utime(path, (past, past))

    with search.running(clock=past):
        search.wait()
    return nothing


def strategy_misbehaves(search: Search) -> Mend:
    mode = search.rng.choice(list(odd_plugin.PROPOSALS))
    with search.running() as child:
        search.wait()
        with in_mood(strategy=mode):
            assert child.ended(PATIENCE)
            said = refusal(child.code or 0, child.output())
            assert said is None or "strategy 'moody'" in said
    return nothing


def task_misbehaves(search: Search) -> Mend:
    mode = search.rng.choice(["raise", "full", *odd_plugin.EVALUATIONS])
    with search.running() as child:
        search.wait()
        with in_mood(task=mode):
            assert child.ended(PATIENCE)
            refusal(child.code or 0, child.output())
            if child.code and search.rng.random() < 0.3:  # resumed too early: refused again, and nothing is lost
                resumed(search)
    return nothing


def task_ends_its_process(search: Search) -> Mend:
    """It hangs until somebody kills everything, or takes its process along."""
    with search.running() as child:
        search.wait()
        with in_mood(task=search.rng.choice(["hang", "exit", "crash"])):
            child.ended(0.5)
            child.kill()
    return nothing


def listener_fails(search: Search) -> Mend:
    with in_mood(listener="tired"), search.running():
        search.wait()
    return nothing


def annotations_change(search: Search) -> Mend:
    """A box moves, a class comes, an image is repainted or removed, while the work is down; then all is put back."""
    voc = Path(search.settings[search.settings.index("--data") + 1].removeprefix("voc:"))
    search.run_a_while()
    kept = voc.with_name("kept")
    shutil.copytree(voc, kept)
    annotation = search.rng.choice(sorted((voc / "Annotations").glob("*.xml")))
    image = voc / "JPEGImages" / f"{annotation.stem}.jpg"
    match search.rng.choice(["box", "class", "image", "gone"]):
        case "box":
            annotation.write_text(re.sub(r"<xmin>\d+</xmin>", "<xmin>1</xmin>", annotation.read_text()))
        case "class":
            annotation.write_text(re.sub("<name>[a-z]+</name>", "<name>hexagon</name>", annotation.read_text()))
        case "image":
            Image.new("RGB", (64, 64), "red").save(image)
        case _:
            image.unlink()
    has_begun = search.has_begun
    said = resumed(search) if has_begun else None
    shutil.rmtree(voc)
    kept.rename(voc)
    assert said is not None or not has_begun, "data has changed, and the work went on"
    return nothing


def data_moves(search: Search) -> Mend:
    """The data is elsewhere when the work goes on."""
    voc = Path(search.settings[search.settings.index("--data") + 1].removeprefix("voc:"))
    search.run_a_while()
    if not search.has_begun:
        return nothing
    moved = voc.with_name(f"moved-{search.rng.randrange(10**6)}")
    shutil.copytree(voc, moved)
    with search.running(more=["--data", f"voc:{moved}"]) as child:
        child.ended(PATIENCE)
        assert child.code == 0, child.output()
    return nothing


def data_changes(search: Search) -> Mend:
    search.run_a_while()
    if search.has_begun and (search.out / "archive.db").exists():
        with in_mood(data="other images"):
            said = resumed(search)
        assert said is not None, "data has changed, and the search went on"
        assert "data" in said
    return nothing


ACTS = (
    kill_driver,
    die_at_a_seam,
    interrupt,
    second_starter,
    file_damaged,
    clock_set_back,
    strategy_misbehaves,
    task_misbehaves,
    task_ends_its_process,
    listener_fails,
    data_changes,
)
MOUNTING = (disk_full, read_only)
REAL = (
    kill_driver,
    die_at_a_seam,
    interrupt,
    second_starter,
    file_damaged,
    clock_set_back,
    annotations_change,
    data_moves,
)
WITH_WORKERS = (kill_driver, die_at_a_seam, kill_worker, interrupt, task_ends_its_process)
