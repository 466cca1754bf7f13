"""What a cache does where there is no space, and with what killed builders have left."""

import errno
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from types import SimpleNamespace

import numpy as np
import pytest
from mounts import can_mount, mounted

from spnas_core.errors import DataError
from spnas_detect.data import build_cache, open_data
from spnas_detect.data.cache import files as cache_files

SHAPES = {"image_size": 64, "max_size": 32, "train": 6, "validation": 2, "test": 2}
BYTES = 10 * 3 * 64 * 64


def shapes(**changes):
    return open_data("shapes", seed=0, **{**SHAPES, **changes})


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def refused(folder, data=None):
    with pytest.raises(DataError) as caught:
        build_cache(data or shapes(), folder, image_size=(64, 64))
    return str(caught.value)


def failing(number):
    def fail(*_):
        raise OSError(number, os.strerror(number))

    return fail


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_no_space_is_said_with_bytes_needed_and_free_and_leaves_nothing(tmp_path, monkeypatch, number):
    monkeypatch.setattr(os, "posix_fallocate", failing(number))
    message = refused(tmp_path / "new" / "cache")
    assert f"the image cache needs {BYTES:,} bytes in {tmp_path}/new/cache, where " in message
    assert f" are free ({os.strerror(number)}): make room there, or choose another --out" in message
    assert not (tmp_path / "new" / "cache").exists()


def test_space_that_runs_out_while_images_are_written_is_said_too(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "pwrite", failing(errno.ENOSPC))
    (tmp_path / "other").touch()
    assert f"needs {BYTES:,} bytes" in refused(tmp_path)
    assert names(tmp_path) == ["other"]


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    message = refused(tmp_path / "file" / "cache")
    assert message.startswith(f"cannot write the image cache into {tmp_path}/file/cache: Not a directory; choose anoth")


@pytest.mark.parametrize("number", [errno.EOPNOTSUPP, errno.EINVAL])
def test_where_space_cannot_be_reserved_free_space_is_compared(tmp_path, monkeypatch, number):
    monkeypatch.setattr(os, "posix_fallocate", failing(number))
    assert len(build_cache(shapes(), tmp_path / "a", image_size=(64, 64)).split("train")) == 6
    monkeypatch.setattr(os, "fstatvfs", lambda _: SimpleNamespace(f_bavail=2, f_frsize=4096))
    assert f"needs {BYTES:,} bytes" in refused(tmp_path / "b")


LIMITED = """
import resource, signal, sys
from pathlib import Path
from spnas_core.errors import DataError
from spnas_detect.data import build_cache, open_data
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000))
data = open_data("shapes", seed=0, image_size=64, max_size=32, train=6, validation=2, test=2)
try:
    build_cache(data, Path(sys.argv[1]), image_size=(64, 64))
except DataError as error:
    print(error)
"""


def test_a_limit_on_files_is_no_signal(tmp_path):
    command = [sys.executable, "-c", LIMITED, str(tmp_path / "cache")]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert result.returncode == 0, result.stderr
    assert f"the image cache needs {BYTES:,} bytes in {tmp_path}/cache" in result.stdout
    assert "File too large" in result.stdout
    assert names(tmp_path) == []


FULL = """
import sys
from pathlib import Path
from spnas_core.errors import DataError
from spnas_detect.data import build_cache, open_data
data = open_data("shapes", seed=0, image_size=64, max_size=32, train=300, validation=2, test=2)
try:
    build_cache(data, Path(sys.argv[1]), image_size=(64, 64))
except DataError as error:
    print(error)
"""


def test_a_full_disk_is_one_line(tmp_path):
    """In a process of its own: it used to die of SIGBUS."""
    if not can_mount(tmp_path / "probe"):
        pytest.skip("no file system can be mounted here")
    disk = tmp_path / "disk"
    with mounted(disk, "-t", "tmpfs", "-o", "size=2m", "tmpfs"):
        command = [sys.executable, "-c", FULL, str(disk / "cache")]
        result = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        assert result.returncode == 0, signal.Signals(-result.returncode).name
        assert f"needs {304 * 3 * 64 * 64:,} bytes in {disk}/cache, where " in result.stdout
        assert names(disk) == []


def test_the_space_is_there_before_the_first_image_is_written(tmp_path):
    def look(done, total):
        (building,) = tmp_path.iterdir()
        sizes = [file.stat() for file in building.glob("*/images.npy")]
        assert sum(size.st_size for size in sizes) > BYTES
        assert sum(size.st_blocks * 512 for size in sizes) >= BYTES

    build_cache(shapes(), tmp_path, image_size=(64, 64), progress=look)


def test_no_file_of_a_cache_is_a_hole(tmp_path):
    split = build_cache(shapes(), tmp_path, image_size=(64, 96)).split("train")
    for index, record in enumerate(shapes().splits["train"]):
        image = split.images([index])[0].permute(1, 2, 0).numpy()
        assert np.array_equal(image[:64], record.read())
        assert not image[64:].any()


def _build_and_die(folder, waits=False):
    def stop(done, total):
        if waits:
            signal.pause()
        os._exit(9)

    build_cache(shapes(), folder, image_size=(64, 64), progress=stop)


def _started(folder, *, waits):
    process = multiprocessing.get_context("fork").Process(target=_build_and_die, args=(folder, waits))
    process.start()
    return process


def test_the_next_build_removes_what_a_killed_one_has_left(tmp_path):
    process = _started(tmp_path, waits=False)
    process.join()
    assert process.exitcode == 9
    (leftover,) = names(tmp_path)
    assert leftover.endswith(".tmp")
    cache = build_cache(shapes(train=3), tmp_path, image_size=(64, 64))  # whatever is built
    assert names(tmp_path) == [cache.folder.name]


def test_the_folder_of_a_living_builder_stays(tmp_path):
    process = _started(tmp_path, waits=True)
    try:
        while not (tmp_path.exists() and list(tmp_path.glob(".*.tmp/train/images.npy"))):
            assert process.is_alive()
            threading.Event().wait(0.01)
        (building,) = names(tmp_path)
        cache = build_cache(shapes(train=3), tmp_path, image_size=(64, 64))
        assert names(tmp_path) == sorted([building, cache.folder.name])
    finally:
        process.kill()
        process.join()
    again = build_cache(shapes(train=4), tmp_path, image_size=(64, 64))
    assert names(tmp_path) == sorted([cache.folder.name, again.folder.name])


def test_a_folder_whose_builder_died_before_its_first_file_goes_too(tmp_path):
    (tmp_path / ".shapes-0123.1-ab.tmp").mkdir()
    (tmp_path / ".hidden").mkdir()
    cache = build_cache(shapes(), tmp_path, image_size=(64, 64))
    assert names(tmp_path) == sorted([".hidden", cache.folder.name])


def test_a_new_folder_that_is_taken_for_a_leftover_is_made_again(tmp_path, monkeypatch):
    """Another process may look between the making of the folder and that of its lock, or between that and locking."""
    real, calls = os.open, []

    def interfering(path, *arguments):
        if str(path).endswith(cache_files.INDEX):
            calls.append(path)
            if len(calls) == 1:
                path.parent.rmdir()
            elif len(calls) == 2:
                descriptor = real(path, *arguments)
                path.unlink()
                path.parent.rmdir()
                return descriptor
        return real(path, *arguments)

    monkeypatch.setattr(os, "open", interfering)
    cache = build_cache(shapes(), tmp_path, image_size=(64, 64))
    assert len(calls) == 3
    assert names(tmp_path) == [cache.folder.name]
