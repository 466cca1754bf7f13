import json
import math
import signal

import pytest
from click.testing import CliRunner

from spnas_core.hookspecs import hookimpl
from spnas_core.plugins import plugin_manager
from spnas_core.tasks import ResolvedCandidate
from spnas_detect.commands.compare import comparison_table, verdicts
from spnas_detect.jobs import TrainingResult, TrainSettings, comparison
from spnas_detect.jobs.comparison import Compared, Comparison
from spnas_detect.metrics.intervals import mean_interval, t_quantile
from spnas_detect.reporting.comparison import report_comparison
from spnas_search.cli.main import commands

SETTINGS = [
    *("--image-size", "64x64"),
    *("--set", "data_options={image_size=64, train=10, validation=4, test=4, max_size=32, min_size=12}"),
    *("--set", "training.batch_size=4"),
    *("--epochs", "1"),
]
CODES = ["b@8_1-2", "b@8_11-2"]


def invoke(*arguments):
    return CliRunner().invoke(commands, ["compare", *map(str, arguments)])


@pytest.mark.parametrize(
    ("freedom", "expected"),
    [(1, 12.7062), (2, 4.3027), (3, 3.1824), (4, 2.7764), (5, 2.5706), (9, 2.2622), (10, 2.2281), (30, 2.0423)],
)
def test_quantiles_are_those_of_the_printed_table(freedom, expected):
    assert t_quantile(freedom) == pytest.approx(expected, abs=1e-4)


def test_an_interval_by_hand():
    found = mean_interval([1.0, 2.0, 3.0])  # standard deviation 1
    assert found.mean == 2
    assert found.half == pytest.approx(4.30265 / math.sqrt(3), abs=1e-4)
    assert found.excludes_zero is False
    assert mean_interval([2.9, 3.0, 3.1]).excludes_zero is True
    assert mean_interval([0.5]).half is None
    assert mean_interval([0.5]).excludes_zero is None
    assert mean_interval([0.1, 0.3 - 0.2]).excludes_zero is None  # alike but for rounding
    assert mean_interval([0.1, 0.1001]).excludes_zero is True
    assert mean_interval([0.5, math.nan]).as_dict() == {"mean": None, "low": None, "high": None}


@pytest.mark.parametrize(
    ("scores", "sentence"),
    [
        ((0.3, 0.41, 0.5), "b_2: better than b_1; the interval of the difference excludes zero."),
        ((-0.1, 0.01, 0.1), "b_2: worse than b_1; the interval of the difference excludes zero."),
        ((0.2, 0.0, 0.4), "b_2: no clear difference to b_1; the interval includes zero."),
        ((0.2, 0.3, 0.4), "b_2: all differences to b_1 are the same, which says nothing of chance."),
        ((0.2, 0.3, math.nan), "b_2: too few defined scores for an interval."),
    ],
)
def test_what_a_difference_means(scores, sentence):
    first = (0.1, 0.2, 0.3)
    difference = mean_interval([here - there for here, there in zip(scores, first, strict=True)])
    compared = (
        Compared("b_1", 1, 1, first, mean_interval(first), None),
        Compared("b_2", 1, 1, scores, mean_interval(scores), difference),
    )
    assert verdicts(Comparison("AP", (0, 1, 2), compared, "test"))[1:] == [sentence]
    other = {"better": "worse", "worse": "better"}
    lower = Comparison("LAMR", (0, 1, 2), compared, "test", higher_is_better=False)
    assert verdicts(lower)[1:] == [" ".join(other.get(word, word) for word in sentence.split(" "))]
    assert comparison_table(lower).title == "LAMR on test images, lower is better"
    assert lower.as_dict()["higher_is_better"] is False


def test_a_comparison_end_to_end_goes_on_and_does_not_train_twice(tmp_path, monkeypatch):
    out = tmp_path / "out"
    calls = []
    train = comparison.train

    def counted(settings, folder, **options):
        calls.append((folder.name, options["resume"]))
        return train(settings, folder, **options)

    monkeypatch.setattr(comparison, "train", counted)
    result = invoke(*CODES, *SETTINGS, "--seeds", 2, "--out", out)
    assert result.exit_code == 0, result.output
    assert calls == [("1-0", False), ("2-0", False), ("1-1", False), ("2-1", False)]
    assert "seed 1" in result.output
    assert "b@8_11-2: " in result.output
    stored = json.loads((out / "compare.json").read_text())
    assert stored["seeds"] == [0, 1]
    for place, row in enumerate(stored["architectures"]):
        assert row["architecture"] == CODES[place]
        own = [json.loads((out / f"{place + 1}-{seed}" / "scores.json").read_text()) for seed in (0, 1)]
        assert row["scores"] == [one["scores"]["AP"] for one in own]
        assert all(one["split"] == "test" for one in own)
    assert stored["latency_device"] is None
    assert "latency" not in result.output
    first, second = (row["scores"] for row in stored["architectures"])
    mean = sum(b - a for a, b in zip(first, second, strict=True)) / 2
    assert stored["architectures"][1]["difference"]["mean"] == pytest.approx(mean)
    calls.clear()
    again = invoke(*CODES, *SETTINGS, "--seeds", 2, "--out", out, "--json")
    assert json.loads(again.stdout) == stored
    assert calls == []
    measured = invoke(*CODES, *SETTINGS, "--seeds", 2, "--out", out, "--latency", "cpu")
    assert "latency on cpu" in measured.output
    timed = json.loads((out / "compare.json").read_text())
    assert timed["latency_device"] == "cpu"
    for row, before in zip(timed["architectures"], stored["architectures"], strict=True):
        latency = row.pop("latency")
        assert 0 < latency["low"] <= latency["median"] <= latency["high"]
        assert row == {key: value for key, value in before.items() if key != "latency"}
        assert f"{latency['median']:.1f} ms" in measured.output
        assert f"{latency['median']:.1f} ms" in report_comparison(str(out)).sections[0].body
    assert calls == []
    weights = (out / "2-1" / "weights.safetensors").read_bytes()
    for name in ("scores.json", "weights.safetensors"):
        (out / "2-1" / name).unlink()
    assert invoke(*CODES, *SETTINGS, "--seeds", 2, "--out", out).exit_code == 0
    assert calls == [("2-1", True)]
    assert (out / "2-1" / "weights.safetensors").read_bytes() == weights
    other = invoke(*CODES, *SETTINGS, "--seeds", 2, "--epochs", 2, "--out", out)
    assert other.exit_code == 2
    assert "has 1.epochs = 1, not 2" in other.output.replace("\n", " ")


def test_a_device_that_is_not_there_is_refused_before_any_training(tmp_path):
    result = invoke(*CODES, *SETTINGS, "--out", tmp_path / "out", "--latency", "cuda:77")
    assert result.exit_code == 2
    assert "latency device 'cuda:77' is not there" in result.output.replace("\n", " ")
    assert not (tmp_path / "out").exists()


def test_one_seed_has_no_interval_and_a_second_one_can_follow(tmp_path):
    out = tmp_path / "out"
    result = invoke(*CODES, *SETTINGS, "--seeds", 1, "--out", out)
    assert result.exit_code == 0, result.output
    assert "One seed allows no interval" in result.output
    assert "±" not in result.output.split("Parameters and")[0]
    first = (out / "1-0" / "scores.json").stat().st_mtime_ns
    assert invoke(*CODES, *SETTINGS, "--seeds", 2, "--out", out).exit_code == 0
    assert (out / "1-1" / "scores.json").exists()
    assert (out / "1-0" / "scores.json").stat().st_mtime_ns == first


def stopped_at_once(settings, folder, **options):
    return TrainingResult(folder, 0, 1, signal.SIGTERM)


def test_trainings_of_other_numbers_of_devices_are_not_compared_where_norms_see_each_ones_images(tmp_path, monkeypatch):
    """Whatever a plan of before that says nothing of."""
    monkeypatch.setattr(comparison, "train", stopped_at_once)
    begun = 128 + signal.SIGTERM
    for place, (norm, code) in enumerate({"batch": 2, "frozen": 2, "sync": begun, "group": begun}.items()):
        given = (*CODES, *SETTINGS, "--norm", norm, "--out", tmp_path / norm, "--cache", tmp_path / "cache")
        assert invoke(*given).exit_code == begun
        other = invoke(*given, "--devices", 2)
        assert other.exit_code == code, (place, other.output)
        if code == 2:
            assert "has 1.devices = 1, not 2: give its options again" in other.output.replace("\n", " ")
        file = tmp_path / norm / "plan.json"
        plan = {key: value for key, value in json.loads(file.read_text()).items() if not key.endswith(".devices")}
        file.write_text(json.dumps(plan))
        assert invoke(*given, "--devices", 2).exit_code == begun


def test_what_starts_anew_beside_frozen_norms_sees_each_devices_images():
    for norm, fixed in (("batch", True), ("frozen", True), ("sync", False), ("group", False)):
        settings = TrainSettings(architecture="b@8_1-2", init="w.safetensors", training={"norm": norm})
        assert ("devices" in comparison._fixed(settings)) is fixed, norm


def test_trainings_that_end_by_other_rules_are_not_compared(tmp_path, monkeypatch):
    monkeypatch.setattr(comparison, "train", stopped_at_once)
    begun, given = 128 + signal.SIGTERM, (*CODES, *SETTINGS, "--out", tmp_path / "c", "--cache", tmp_path / "cache")
    rule = ("--score-every", 1, "--set", "patience=1")
    assert invoke(*given, *rule).exit_code == begun
    for other, key in (
        ((), "patience"),
        (("--score-every", 1, "--set", "patience=8"), "patience"),
        (("--score-every", 2, "--set", "patience=1"), "score_every"),
        ((*rule, "--set", "min_delta=0.01"), "min_delta"),
    ):
        result = invoke(*given, *other)
        assert result.exit_code == 2, other
        assert f"1.{key} = " in result.output.replace("\n", " "), other
    assert invoke(*given, *rule, "--set", "log_steps=3").exit_code == begun
    file = tmp_path / "c" / "plan.json"
    old = ("patience", "min_delta", "score_every", "score_split")
    plan = {key: value for key, value in json.loads(file.read_text()).items() if not key.endswith(old)}
    file.write_text(json.dumps(plan))
    assert invoke(*given, *rule).exit_code == begun, "a plan of before says nothing of that"


def test_a_damaged_plan_is_named(tmp_path):
    (tmp_path / "plan.json").write_text("{")
    result = invoke(*CODES, *SETTINGS, "--out", tmp_path)
    assert result.exit_code == 2
    assert "plan.json cannot be read" in result.output.replace("\n", " ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["b@8_1-2", "b_11--21"], "stage 2 of '11--21' is empty"),
        (["b@8_1-2", "runs/nothing:3"], "'runs/nothing:3' is neither the folder of a run, as RUN or RUN:ID, nor"),
        ([*CODES, "--seeds", "0"], "--seeds"),
        (["b@8_1-2"], "needs two architectures or more"),
        (["b@8_1-2", "b@8_1-2"], "given twice"),
        ([*CODES, "--init", "none.safetensors"], "weights file none.safetensors does not exist"),
        ([*CODES, "--neck", "fnp"], "did you mean 'fpn'?"),
    ],
)
def test_a_wrong_argument_is_refused_before_anything_is_trained(tmp_path, arguments, message):
    result = invoke(*SETTINGS, *arguments, "--out", tmp_path / "out")
    assert result.exit_code == 2, result.output
    assert message in result.output
    assert not (tmp_path / "out").exists()


def test_candidates_are_compared_alike(tmp_path):
    class Runs:
        @hookimpl(tryfirst=True)
        def spnas_resolve_candidate(self, reference):
            norms = {"runs/a": "group", "runs/b": "batch"}
            if reference not in norms:
                return None
            return ResolvedCandidate("b@8_1-2", tmp_path / "w.safetensors", {"training": {"norm": norms[reference]}})

    plugin = Runs()
    plugin_manager().register(plugin)
    try:
        mixed = invoke("runs/a", "b@8_11-2", *SETTINGS, "--out", tmp_path / "out")
        unlike = invoke("runs/a", "runs/b", *SETTINGS, "--out", tmp_path / "out")
    finally:
        plugin_manager().unregister(plugin)
    assert "give --fresh" in mixed.output
    assert "has training.norm = 'batch', and another run 'group'" in unlike.output
    assert not (tmp_path / "out").exists()


def test_seeds_beyond_the_largest_are_refused_before_the_first_training(tmp_path):
    result = invoke(*CODES, *SETTINGS, "--seed", 2**63 - 1, "--seeds", 2, "--out", tmp_path / "c")
    assert result.exit_code == 2
    assert "seed is 9223372036854775808" in result.output
    assert not list((tmp_path / "c").glob("*-*"))
