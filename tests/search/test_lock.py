"""One process per run, for as long as it lives."""

import fcntl
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from spnas_core.errors import ArchiveError
from spnas_core.lock import is_held
from spnas_search.archive import RunLock

# A holder by the same system call, without importing torch: it starts in an instant.
HOLDER = """
import fcntl, os, sys, time
descriptor = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
fcntl.flock(descriptor, fcntl.LOCK_EX)
os.pwrite(descriptor, str(os.getpid()).encode(), 0)
print("held", flush=True)
time.sleep(600)
"""


def holder(folder):
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(folder / "lock")], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    return process


def test_a_second_process_is_refused_until_the_first_is_killed(tmp_path):
    first = holder(tmp_path)
    try:
        expected = (
            f"archive {tmp_path}/archive.db is held by process {first.pid}: "
            "stop it, or start this run with --out elsewhere"
        )
        with pytest.raises(ArchiveError) as caught:
            RunLock(tmp_path).acquire()
        assert str(caught.value) == expected
    finally:
        first.send_signal(signal.SIGKILL)
        first.wait()
        first.stdout.close()
    with RunLock(tmp_path):
        assert (tmp_path / "lock").read_text() == str(os.getpid())


def test_a_second_lock_of_one_process_is_refused_too_and_released_with_the_first(tmp_path):
    first, second = RunLock(tmp_path), RunLock(tmp_path)
    with first:
        with pytest.raises(ArchiveError, match=f"held by process {os.getpid()}"):
            second.acquire()
        first.acquire()  # holding it already is no mistake
    with second:
        pass
    second.release()
    assert (tmp_path / "lock").read_text() == ""


def test_a_holder_that_has_not_yet_written_its_number_is_called_another_process(tmp_path):
    with RunLock(tmp_path):
        os.truncate(tmp_path / "lock", 0)
        with pytest.raises(ArchiveError, match="held by another process"):
            RunLock(tmp_path).acquire()


def test_a_shorter_number_replaces_a_longer_one(tmp_path):
    (tmp_path / "lock").write_text("9" * 30)
    with RunLock(tmp_path):
        assert (tmp_path / "lock").read_text() == str(os.getpid())


def test_children_do_not_hold_the_lock(tmp_path):
    lock = RunLock(tmp_path)
    lock.acquire()
    assert not os.get_inheritable(lock._descriptor)
    executed = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], close_fds=False)
    forked = os.fork()
    if forked == 0:
        time.sleep(600)
        os._exit(0)
    try:
        time.sleep(0.3)
        lock.release()
        with RunLock(tmp_path):
            pass
    finally:
        os.kill(forked, signal.SIGKILL)
        os.waitpid(forked, 0)
        executed.kill()
        executed.wait()


def test_a_child_that_forgets_the_lock_leaves_the_holders_number(tmp_path):
    with RunLock(tmp_path):
        forked = os.fork()
        if forked == 0:
            os._exit(0)
        os.waitpid(forked, 0)
        assert (tmp_path / "lock").read_text() == str(os.getpid())


def test_who_only_looks_keeps_nobody_from_starting(tmp_path):
    (tmp_path / "lock").touch()
    descriptor = os.open(tmp_path / "lock", os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    lock, given_back = RunLock(tmp_path), threading.Timer(0.1, os.close, [descriptor])
    given_back.start()
    with lock:
        assert (tmp_path / "lock").read_text() == str(os.getpid())
        assert is_held(tmp_path)
    given_back.join()
    assert not is_held(tmp_path)


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(ArchiveError, match=r"there is no run in .*missing"):
        RunLock(tmp_path / "missing").acquire()
    assert not (tmp_path / "missing").exists()
