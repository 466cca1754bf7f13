"""A search that is stopped leaves nothing of the Ray cluster that it has started."""

import importlib.util
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from waiting import wait_until

pytestmark = pytest.mark.slow

SCRIPT = """
import signal, sys
from spnas_search.cli import main
# A shell that runs the tests in the background has them ignore Ctrl-C, and children inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.argv = ["spnas", "run", "serial", *sys.argv[1:]]
main()
"""


def of_group(group: int) -> list[int]:
    """Processes of a group that have not ended."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if int(fields[2]) == group and fields[0] != "Z":
            found.append(int(stat.parent.name))
    return found


@pytest.mark.parametrize("way", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_of_the_cluster(tmp_path, way):
    if importlib.util.find_spec("ray") is None:
        pytest.skip("Ray is not installed: pip install 'spnas-search[ray]'")
    node, out = tmp_path / "node", tmp_path / "run"
    settings = ["task.name=null", "task.duration=5", "executor.name=ray", "executor.cores=2"]
    options = [part for one in (*settings, f"executor.node_folder={node}") for part in ("--set", one)]
    command = [sys.executable, "-c", SCRIPT, *options, "--out", str(out)]
    search = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, process_group=0)
    try:
        assert wait_until(lambda: list(node.glob("runs/*/*-1-*")), 240)
        time.sleep(1)
        assert len(of_group(search.pid)) > 5
        if way == signal.SIGINT:
            os.killpg(search.pid, way)  # as a terminal does
        else:
            search.send_signal(way)
        said, _ = search.communicate(timeout=60)
        # Ray's own agents look after their parent twice a minute.
        assert wait_until(lambda: not of_group(search.pid), 240)
    finally:
        for process in of_group(search.pid):
            os.kill(process, signal.SIGKILL)
        search.wait()
    if way != signal.SIGKILL:
        assert search.returncode == 128 + way
        assert "Stopped. Nothing finished is lost; go on with: spnas run --out" in said
        assert list((node / "runs").iterdir()) == []
