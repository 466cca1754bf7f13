"""``--log-json``: every event a line of JSON, beside what people see or in its place."""

import json
import pickle
import subprocess
import sys
from datetime import datetime

import pytest
from click.testing import CliRunner

from spnas_core.commands.log_json import JsonLog
from spnas_core.errors import ConfigError
from spnas_detect.commands.progress import TrainProgress
from spnas_search.cli.main import commands

SEARCH = (
    "run serial --set task.name=null --set executor.name=inline --set budget.candidates=2 --set final.seeds=2 "
    "--set warm_start_epochs=1"
)


def command(*arguments):
    return CliRunner().invoke(commands, [str(part) for argument in arguments for part in str(argument).split(" ")])


def events_of(text):
    return [json.loads(line) for line in text.splitlines()]


def test_a_search_is_followed_in_a_file(tmp_path):
    done = command(SEARCH, "--out", tmp_path / "run", "--log-json", tmp_path / "log")
    assert done.exit_code == 0, done.output
    assert "serial search from" in done.output
    events = events_of((tmp_path / "log").read_text())
    names = [event["event"] for event in events]
    assert (names[0], names[-1]) == ("run_started", "run_finished")
    assert {"round_started", "candidate_finished"} <= set(names)
    times = [datetime.fromisoformat(event["time"]) for event in events]
    assert times == sorted(times)
    finished = [event for event in events if event["event"] == "candidate_finished"]
    announced = [row["id"] for event in events if event["event"] == "round_started" for row in event["candidates"]]
    assert sorted(event["id"] for event in finished) == sorted(announced) == list(range(len(finished)))
    verdict = events[-1]["verdict"]
    assert verdict["columns"][0]["gain"]["count"] == len(verdict["columns"][0]["winner"])


def test_standard_output_is_json_alone(tmp_path):
    done = command(SEARCH, "--out", tmp_path / "run", "--log-json", "-")
    assert done.exit_code == 0, done.output
    assert events_of(done.stdout)[-1]["event"] == "run_finished"
    assert "serial search from" in done.stderr


def test_what_goes_on_is_appended(tmp_path):
    command(SEARCH, "--out", tmp_path / "run", "--log-json", tmp_path / "log")
    before = (tmp_path / "log").read_text()
    command("run --resume --out", tmp_path / "run", "--log-json", tmp_path / "log")
    assert (tmp_path / "log").read_text().startswith(before + '{"time"')


def test_a_training_is_followed(tmp_path):
    options = "train b@8_1-2 --image-size 64x64 --epochs 1 --data-option train=8 --data-option test=4"
    done = command(options, "--data-option validation=4", "--out", tmp_path / "out", "--log-json", tmp_path / "log")
    assert done.exit_code == 0, done.output
    events = events_of((tmp_path / "log").read_text())
    steps = [event for event in events if event["event"] == "step"]
    assert steps[-1]["step"] == steps[-1]["steps"]
    assert steps[-1]["loss"] == pytest.approx(sum(steps[-1]["losses"].values()))
    assert events[-1]["event"] == "finished"
    assert "AP" in events[-1]["scores"]


def test_a_log_goes_along_into_another_process(tmp_path):
    progress = TrainProgress(log=JsonLog(str(tmp_path / "log")))
    progress.log.event("here")
    other = pickle.loads(pickle.dumps(progress))
    other.log.event("there")
    progress.log.close()
    other.log.close()
    assert [event["event"] for event in events_of((tmp_path / "log").read_text())] == ["here", "there"]


def test_a_file_that_cannot_be_written_is_refused_at_once(tmp_path):
    refused = command(SEARCH, "--out", tmp_path / "run", "--log-json", tmp_path)
    assert refused.exit_code == 2
    assert f"--log-json: {tmp_path} cannot be written: Is a directory" in refused.stderr
    assert not (tmp_path / "run").exists()
    with pytest.raises(ConfigError, match="cannot be written"):
        JsonLog(str(tmp_path / "nowhere" / "log"))


@pytest.mark.skipif(sys.platform != "linux", reason="/dev/full is Linux's")
def test_a_full_disk_ends_the_log_and_nothing_else():
    code = (
        "from spnas_core.commands.log_json import JsonLog\nlog = JsonLog('/dev/full')\nlog.event('a')\nlog.event('b')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.count("warning: --log-json: /dev/full can no longer be written: No space left on device") == 1
