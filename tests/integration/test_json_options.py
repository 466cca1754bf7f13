"""``--json`` and ``--log-json`` are where they are promised: every command has them, or a reason to go without."""

import json
import math

import click
import pytest
from commands import INLINE, NULL, budget, done, invoke

from spnas_core.commands.json_text import to_json
from spnas_core.commands.lazy import LazyCommand
from spnas_search.cli.main import commands
from spnas_search.studies import read_signal_results
from spnas_search.studies.searches.study import read_searches_results
from spnas_search.studies.spaces.study import read_spaces_results

LOGGED = "its log says everything, the end included"
FILES = "writes files, and names them"
QUICK = "answers at once"
STEP = "is one step, whose result its --json or a file has"
WITHOUT_JSON = {
    **dict.fromkeys(("run", "extend", "retry", "train"), LOGGED),
    **dict.fromkeys(("export", "report", "plugins new"), FILES),
}
WITHOUT_LOG = {
    **dict.fromkeys(("backbones", "candidates", "doctor", "plugins", "plugins new", "presets", "runs", "show"), QUICK),
    **dict.fromkeys(("data check", "data convert", "export", "plugins check", "predict"), STEP),
    "report": "looks at what is there: what it watches has a log of its own",
}

TRAINED = (*NULL, "--set", "task.noise=0.05", "--epochs", "3", "--trainings", "2")
STUDIES = {
    "signal": (("--codes", "4", "--child-epochs", "1", *TRAINED), read_signal_results),
    "spaces": (
        ("b@8_1-2-2", "r@8_1-2-2", "--codes", "5", "--set", "space.max_blocks=6", *TRAINED),
        read_spaces_results,
    ),
    "searches": (("random", "--searches", "2", "--ranked", "0", *budget(2), *TRAINED), read_searches_results),
}


def walked(command, path=()):
    """Yield every command that does something, with the words that name it."""
    command = command.load() if isinstance(command, LazyCommand) else command
    is_group = isinstance(command, click.Group)
    if not is_group or (path and command.invoke_without_command):
        yield " ".join(path), {option for parameter in command.params for option in parameter.opts}
    if is_group:
        context = click.Context(command)
        for name in command.list_commands(context):
            yield from walked(command.get_command(context, name), (*path, name))


@pytest.mark.parametrize(("option", "without"), [("--json", WITHOUT_JSON), ("--log-json", WITHOUT_LOG)])
def test_every_command_has_it_or_a_reason_to_go_without(option, without):
    assert {name for name, options in walked(commands) if option not in options} == set(without)


def events(file):
    return [json.loads(line) for line in file.read_text().splitlines()]


@pytest.mark.parametrize("kind", STUDIES)
def test_a_study_is_printed_and_logged_as_its_results_are(tmp_path, kind):
    given, read = STUDIES[kind]
    shown = invoke("study", kind, *given, "--out", tmp_path / "s", "--json", "--log-json", tmp_path / "log")
    assert shown.exit_code == 0, shown.output
    results = read(tmp_path / "s")
    found = json.loads(shown.stdout)
    assert found == json.loads(to_json(results.as_dict()))
    assert f"{kind}.md" in shown.stderr, "people are told on standard error"
    logged = events(tmp_path / "log")
    names = [one["event"] for one in logged if one["event"] != "read"]
    assert (names[0], names[-1]) == ("study_started", "study_finished")
    assert found.items() <= logged[-1].items()
    trained = [one for one in logged if one["event"] == "training_finished"]
    assert len(trained) == trained[-1]["done"] == trained[-1]["wanted"] == results.done
    again = invoke("study", kind, "--out", tmp_path / "s", "--report", "--json", "--log-json", tmp_path / "shown")
    assert json.loads(again.stdout) == found
    assert [one["event"] for one in events(tmp_path / "shown")] == ["study_shown"]
    assert invoke("study", kind, "--out", tmp_path / "s", "--report").stdout.count("{") == 0


def test_numbers_of_a_study_are_those_of_its_table(tmp_path):
    given, read = STUDIES["signal"]
    found = json.loads(invoke("study", "signal", *given, "--out", tmp_path, "--json").stdout)
    results = read(tmp_path)
    assert found["codes"] == list(results.plan.codes)
    for one, result in zip(found["arms"], results.arms, strict=True):
        assert one["arm"] == {"how": result.arm.how, "epochs": result.arm.epochs, "images": result.arm.images}
        assert (one["mean"], one["count"]) == (result.mean, result.count)
        if result.heritability is not None and math.isfinite(result.heritability.share):
            assert one["heritability"]["share"] == result.heritability.share


def test_searches_of_a_study_are_followed(tmp_path):
    done("study", "searches", *STUDIES["searches"][0], "--out", tmp_path / "s", "--log-json", tmp_path / "log")
    logged = [one["event"] for one in events(tmp_path / "log")]
    assert logged.count("search_started") == logged.count("search_ended") == 2
    first, last = logged.index("search_started"), logged.index("search_ended")
    assert "candidate_finished" in logged[first:last]


def test_a_plan_and_what_is_verified_are_logged(tmp_path):
    out = tmp_path / "run"
    planned = invoke("plan", "serial", *NULL, *budget(1), "--log-json", "-")
    *_, last = map(json.loads, planned.stdout.splitlines())
    assert last["event"] == "planned"
    assert last["workers"] == 1
    assert "with 1 worker," in planned.stderr
    done("run", "serial", "--set", "task.name=null", *INLINE, *budget(1), "--out", out)
    done("verify", out, "--log-json", tmp_path / "log")
    parts = [one["part"] for one in events(tmp_path / "log") if one["event"] == "finding"]
    assert parts == ["packages", "code", "weights", "data", "score"]


def test_a_checked_plugin_is_json_where_that_is_asked_for(monkeypatch):
    from spnas_core import testing
    from spnas_core.testing.checking import Broken, Checked

    items = [
        Checked("necks", "mine", 3, (Broken("test_it", "it holds", "it does not"),)),
        Checked("tasks", "other", untested="says no settings to try it with"),
    ]
    monkeypatch.setattr(testing, "check_plugin", lambda name: iter(items))
    checked = invoke("plugins", "check", "mine", "--json")
    assert checked.exit_code == 1
    first, second = map(json.loads, checked.stdout.splitlines())
    broken = [{"test": "test_it", "expected": "it holds", "reason": "it does not"}]
    assert first == {"kind": "necks", "name": "mine", "kept": 3, "untested": "", "broken": broken}
    assert (second["kind"], second["untested"]) == ("tasks", "says no settings to try it with")
