"""Bad input ends in one line and exit code 2, leaves nothing half-written, and never shows a traceback."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import torchvision
from click.testing import CliRunner
from safetensors.torch import save_file

from spnas_core.commands.console import PlainConsole
from spnas_search.cli.main import commands, main

NULL = ("--set", "task.name=null", "--set", "executor.name=inline", "--set", "budget.candidates=2")


def invoke(*arguments: str):
    return CliRunner().invoke(commands, [str(argument) for argument in arguments])


def refused(*arguments: str) -> str:
    result = invoke(*arguments)
    assert result.exit_code == 2, result.output
    assert isinstance(result.exception, SystemExit)
    assert "Traceback" not in result.output
    error = [line for line in result.output.splitlines() if line.lower().startswith("error: ")]
    assert len(error) == 1, result.output
    return error[0]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["start=q_11-21"], "no block type is called 'q'"),
        (["start=b_11--21"], "stage 2 of '11--21' is empty"),
        (["start=b_11-31"], "a block is 1 (keeps the channels) or 2"),
        (["start=b_11-21-21-21_0-1"], "has 2 entries for 4 stages"),
        (["space.max_stages=3", "space.min_stages=2"], "4 stages where max_stages = 3"),
        (["space.max_multiply_adds=1000"], "multiply_adds where max_multiply_adds = 1,000"),
        (["space.min_blocks=9", "space.max_blocks=8"], "min_blocks 9 is above max_blocks 8"),
        (["stategy.pool=3"], "there is no setting 'stategy'; did you mean 'strategy'?"),
        (["strategy.poool=3"], "there is no setting 'strategy.poool'; did you mean 'pool'?"),
        (["strategy.pool=0"], "strategy.pool is 0: input should be greater than or equal to 1"),
        (["strategy.odds={swp=1.0}"], "did you mean 'swap'?"),
        (["objective=scoe"], "did you mean 'score'?"),
        (["executor.name=proceses"], "did you mean 'processes'?"),
        (["seed=-1"], "seed is -1"),
        (["init=weights.pt"], "must be torchvision:FILE, torchvision-backbone:FILE or FILE.safetensors"),
        (["init=torchvision:missing.pth"], "weights file missing.pth does not exist"),
        (["strategy=serial"], "strategy is 'serial': input should be a valid table"),
        (["no equals sign"], "must look like key=value"),
    ],
)
def test_a_wrong_setting_names_key_value_and_what_is_allowed(tmp_path, settings, message):
    out = tmp_path / "run"
    given = [part for setting in settings for part in ("--set", setting)]
    assert message in refused("run", "serial", *NULL, *given, "--out", out)
    assert not out.exists()


def detection(data: str, out: Path, *settings: str) -> list[str]:
    options = [part for setting in settings for part in ("--set", setting)]
    return ["run", "serial", "--data", data, "--set", "executor.name=inline", *options, "--out", str(out)]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("shaps", "did you mean 'shapes'?"),
        ("voc:nowhere", "nowhere"),
        ("coco:nowhere", "nowhere"),
        ("voc:", "has no path after the colon"),
    ],
)
def test_data_that_cannot_be_read_starts_no_run(tmp_path, data, message):
    out = tmp_path / "run"
    assert message in refused(*detection(data, out))
    assert not out.exists()


def test_wrong_data_options_and_devices_are_named(tmp_path):
    out = tmp_path / "run"
    assert "did you mean 'train'" in refused(*detection("shapes", out, "task.data_options={trian = 3}"))
    assert "device 'cuda:7' cannot be used" in refused(*detection("shapes", out, "task.device='cuda:7'"))
    assert not out.exists()


def test_a_malformed_configuration_names_file_and_line(tmp_path):
    config = tmp_path / "mine.toml"
    config.write_text("seed = 1\nstart = \n")
    message = refused("run", "serial", "--config", config, "--out", tmp_path / "run")
    assert "mine.toml" in message
    assert "line 2" in message
    assert "cannot read the configuration" in refused("run", "--config", tmp_path / "none.toml")


def test_a_folder_that_holds_a_run_is_not_overwritten(tmp_path):
    out = tmp_path / "run"
    assert invoke("run", "serial", *NULL, "--out", out).exit_code == 0
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert "continue it with --resume" in refused("run", "serial", *NULL, "--out", out)
    assert before == {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}


def test_resuming_what_is_no_run_and_resuming_with_settings_are_refused(tmp_path):
    assert "holds no run" in refused("run", "--out", tmp_path, "--resume")
    result = invoke("run", "--out", tmp_path, "--resume", "--set", "seed=3")
    assert result.exit_code == 2
    assert "leave out --set" in result.output


def test_a_finished_run_resumes_to_the_same_summary(tmp_path):
    out = tmp_path / "run"
    first = invoke("run", "serial", *NULL, "--out", out)
    again = invoke("run", "--out", out, "--resume")
    assert again.exit_code == 0
    assert first.output.splitlines()[-1] == again.output.splitlines()[-1]


def test_a_second_process_on_the_same_run_is_refused(tmp_path):
    out = tmp_path / "run"
    arguments = ["run", "serial", *NULL, "--set", "task.duration=2.0", "--out", str(out)]
    process = subprocess.Popen(
        [sys.executable, "-c", "from spnas_search.cli import main; main()", *arguments], stdout=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + 60
        while not (out / "archive.db").exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        message = refused("run", "--out", out, "--resume")
        assert f"is held by process {process.pid}" in message
        assert invoke("candidates", out).exit_code == 0  # looking is allowed
    finally:
        process.kill()
        process.wait()


def test_candidates_prints_a_table_and_json_of_every_candidate(tmp_path):
    out = tmp_path / "run"
    assert invoke("run", "serial", *NULL, "--out", out).exit_code == 0
    rows = [json.loads(line) for line in invoke("candidates", out, "--json").output.splitlines()]
    assert [row["id"] for row in rows] == list(range(len(rows)))
    child = next(row for row in rows if row["kind"] == "child")
    assert child["parent"] == 0
    assert child["morphisms"]
    assert child["status"] == "done"
    assert child["architecture"] in invoke("candidates", out).output
    pareto = [json.loads(line) for line in invoke("candidates", out, "--pareto", "--json").output.splitlines()]
    assert pareto
    assert {row["id"] for row in pareto} <= {row["id"] for row in rows}
    assert "holds no run" in refused("candidates", tmp_path)


def test_what_is_told_of_morphisms_is_shortened_on_a_terminal_only(tmp_path, monkeypatch):
    assert invoke("run", "serial", *NULL, "--out", tmp_path).exit_code == 0
    whole = invoke("candidates", tmp_path).output
    monkeypatch.setattr("spnas_search.cli.candidates.MOST_LETTERS", 8)
    assert invoke("candidates", tmp_path).output == whole
    monkeypatch.setenv("FORCE_COLOR", "1")  # which asks for colours, in a file, too
    monkeypatch.setenv("TERM", "xterm")
    assert " … " not in invoke("candidates", tmp_path).output
    monkeypatch.setattr(PlainConsole, "can_redraw", True)
    short = invoke("candidates", tmp_path).output
    assert " … " in short
    assert max(map(len, short.splitlines())) < max(map(len, whole.splitlines()))


def test_a_search_starts_from_another_runs_candidate(tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    assert invoke("run", "serial", *NULL, "--out", first).exit_code == 0
    assert "there is no candidate 99" in refused("run", *NULL, "--from", f"{first}:99", "--out", second)
    assert not second.exists()


def test_a_search_starts_from_torchvisions_weights(tmp_path):
    weights, out = tmp_path / "resnet18.pth", tmp_path / "run"
    torch.save(torchvision.models.resnet18().state_dict(), weights)
    given = (*NULL, "--init", f"torchvision:{weights}", "--set", "warm_start_epochs=0")
    assert "their block types 'r' and 'b' differ" in refused("run", *given, "--start", "r_11-21-21-21", "--out", out)
    assert not out.exists()
    ran = invoke("run", *given, "--start", "b_11-21-2-2111", "--out", out)
    assert ran.exit_code == 0, ran.output
    said = "init is of b_11-21-21-21: align: 7 of 9 residual branches are those of b_11-21-21-21"
    assert said in " ".join(ran.output.split())


def test_weights_of_another_architecture_name_the_first_differing_tensors(tmp_path):
    weights = tmp_path / "mine.safetensors"
    save_file({"stem.conv1.weight": torch.zeros(8, 3, 7, 7)}, weights)
    message = refused("run", *NULL, "--init", weights, "--start", "b@8_11-21-21-21", "--out", tmp_path / "run")
    assert "stem.bn1.weight (missing instead of (8,))" in message
    weights.write_bytes(weights.read_bytes()[:-20])
    message = refused("run", *NULL, "--init", weights, "--start", "b@8_11-21-21-21", "--out", tmp_path / "run")
    assert "no complete safetensors file" in message


def test_show_draws_every_stage_and_refuses_a_wrong_size():
    output = invoke("show", "r_111-2111-211111-211", "--image", "1216x800").output
    assert all(f" s{number} " in output for number in range(1, 5))
    assert "25.6 M" not in output  # the classifier is no part of the backbone
    assert "23.5 M parameters" in output
    assert "WIDTHxHEIGHT" in refused("show", "b_11", "--image", "big")


def test_plugins_lists_what_every_distribution_registers():
    output = invoke("plugins").output
    for name in ("x32x4d", "swap", "serial", "detection", "shapes", "fpn", "faster-rcnn", "coco", "processes"):
        assert name in output


@pytest.mark.parametrize(
    "command",
    ["", "run", "show", "candidates", "plugins", "train", "compare", "evaluate", "predict", "data check"],
)
def test_help_of_every_command_has_an_example(command):
    lines = invoke(*command.split(), "--help").output.splitlines()
    examples = [line.strip() for line in lines if "Example: " in line]
    assert examples
    assert all(example.startswith("Example: spnas ") for example in examples)  # each begins a line of its own
    assert not any("\\b" in line for line in lines)


def test_a_failing_start_shows_its_reason_and_can_be_tried_again(tmp_path):
    out = tmp_path / "run"
    broken = [*NULL, "--set", "task.behaviour={0 = 'diverge'}"]
    assert "the start b@8_11-21-21-21 failed: the loss is NaN" in refused("run", *broken, "--out", out)
    text = (out / "run.toml").read_text()
    (out / "run.toml").write_text(text.replace('0 = "diverge"', ""))
    assert invoke("run", "--out", out, "--resume").exit_code == 0


def test_one_failing_child_does_not_end_the_search(tmp_path):
    out = tmp_path / "run"
    given = [*NULL, "--set", "task.behaviour={3 = 'raise'}", "--set", "budget.candidates=4"]
    assert invoke("run", *given, "--out", out).exit_code == 0
    rows = [json.loads(line) for line in invoke("candidates", out, "--json").output.splitlines()]
    assert [row["status"] for row in rows].count("failed") == 1
    assert rows[3]["reason"] == "RuntimeError: the null task was told to raise"


def test_windows_is_told_where_spnas_runs(monkeypatch):
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(SystemExit, match="on Windows install it in WSL"):
        main()
