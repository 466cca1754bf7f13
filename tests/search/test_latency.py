"""A bound on latency: measured once, stored, and never measured again."""

import itertools
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

import spnas_core.cost.latency
import spnas_search
from spnas_core import Architecture, SearchSpace
from spnas_core.cost import Latency, measure_latency
from spnas_core.errors import ArchiveError, ConfigError, SpaceError, SpnasError
from spnas_core.relaxation import Decisions, Logits, best_codes
from spnas_core.tasks import MetricSpec
from spnas_search.archive import Archive
from spnas_search.run import latency, read_archive, resume_run, start_run
from spnas_search.run.latency import LatencyBound, LatencyMeter
from spnas_search.settings import resolve
from spnas_search.studies.signal import SignalSettings
from spnas_search.studies.signal_study import _paths
from spnas_search.testing import NullTask

START = Architecture.parse("b@8_11-21-21-21")
NULL = {"task": {"name": "null"}, "executor": {"name": "inline"}, "final": {"seeds": 0}, "noise_seeds": 2}


@pytest.fixture
def measured(monkeypatch):
    """Made-up latencies: a tenth of a millisecond per block; the codes that were measured, in order."""
    codes = []

    def measure(architecture, width, height, *, device, beside):
        assert (beside is None) == (architecture == START)
        assert beside in {None, (START, 0.8)}
        codes.append(str(architecture))
        median = len(architecture.digits) / 10
        return Latency(median, 0.9 * median, 1.05 * median, 20)

    monkeypatch.setattr(latency, "measure_latency", measure)
    return codes


def test_a_measurement_is_of_the_networks_own_forward_pass():
    threads = torch.get_num_threads()
    found = measure_latency(START, 64, 48, runs=7, warmup=1, threads=1)
    assert 0 < found.low <= found.median <= found.high
    assert found.runs == 7
    assert torch.get_num_threads() == threads
    assert Latency(**found.as_dict()) == found
    assert str(Latency(1.234, 1, 2, 5)) == "1.23 ms (1.00-2.00, 5 runs)"


def test_what_slows_a_machine_cancels_beside_a_reference(monkeypatch):
    """Twenty blocks take two and a half times as long as eight, however fast the machine happens to be."""
    clock = itertools.count()

    def timed(backbone, _):
        return 1e-3 * len(backbone.blocks) * (1 + next(clock) // 2 % 5)  # a turn of both, then another speed

    monkeypatch.setattr(spnas_core.cost.latency, "_timed", timed)
    deeper = replace(START, stages=("11111111", "21111111", "21", "21"))
    found = measure_latency(deeper, 64, 48, beside=(START, 100.0), runs=15)
    assert (found.low, found.median, found.high) == pytest.approx((250, 250, 250))
    alone = measure_latency(START, 64, 48, runs=15)
    assert alone.low < alone.median < alone.high


def test_the_interval_of_a_median_covers_it_in_95_percent(monkeypatch):
    rng = np.random.default_rng(0)
    monkeypatch.setattr(spnas_core.cost.latency, "_timed", lambda *_: 1e-3 * rng.lognormal())
    covered = 0
    for _ in range(400):
        found = measure_latency(Architecture.parse("b@1_1"), 32, 32, runs=30, warmup=0)
        covered += found.low <= 1 <= found.high
    assert 0.93 <= covered / 400 <= 0.99  # order statistics are discrete, and err on the safe side


@pytest.mark.parametrize(
    ("device", "message"),
    [("gpu0", "latency device 'gpu0' is none"), ("meta", "cannot be measured"), ("cuda:97", "'cuda:97' is not there")],
)
def test_a_device_that_is_not_there_is_refused_before_anything_begins(tmp_path, device, message):
    space = {"max_latency": 9.0, "latency_device": device}
    with pytest.raises(ConfigError, match=message):
        spnas_search.search(**NULL, space=space, out=tmp_path / "run")
    assert not (tmp_path / "run" / "archive.db").exists()


@pytest.mark.parametrize(
    ("device", "message"), [("gpu0", "'gpu0' is none"), ("cuda:97", "'cuda:97' is not there"), ("meta", "measured")]
)
def test_a_device_on_which_nothing_would_be_measured_is_refused_alike(tmp_path, device, message):
    with pytest.raises(ConfigError, match=message):
        spnas_search.search(**NULL, space={"latency_device": device}, out=tmp_path / "run")
    assert not (tmp_path / "run" / "archive.db").exists()


@pytest.mark.parametrize(
    ("values", "warned"),
    [
        ({"space": {"latency_device": "cpu:0"}}, True),
        ({"space": {"latency_device": "cpu:0", "max_latency": "9x"}}, False),
        ({"space": {"latency_device": "cpu:0"}, "pareto": ["latency"]}, False),
        ({"space": {"latency_device": "cpu"}}, False),
    ],
)
def test_a_device_on_which_nothing_is_measured_is_warned_of(tmp_path, values, warned):
    with start_run(tmp_path / "run", {**NULL, "noise_seeds": 4, **values}, lambda *_: None) as run:
        said = [remark for remark in run.remarks if "this search measures no latency: bound it by" in remark]
        assert len(said) == warned
    with resume_run(run.folder, lambda *_: None) as again:
        assert "measures no latency" not in "".join(again.remarks)


@pytest.mark.parametrize("limit", [1.0, "1.2x"])
def test_a_search_returns_only_what_keeps_the_bound(tmp_path, measured, limit):
    space = {"max_latency": limit, "max_multiply_adds": "none"}
    strategy = {"name": "serial", "odds": {"expand": 1.0}}
    with spnas_search.search(**NULL, space=space, strategy=strategy, budget=8, out=tmp_path / "run") as run:
        children = run.archive.of_kind("child")
        assert children
        most = 1.0 if limit == 1.0 else 1.2 * 0.8
        assert all(1.05 * len(child.architecture.digits) / 10 <= most for child in children)
        assert any(1.05 * (len(code.replace("-", "")) - 4) / 10 > most for code in measured)  # others were refused
    assert len(set(measured)) == len(measured)
    with read_archive(tmp_path / "run") as archive:
        stored = archive.measurement("latency cpu 64x64", str(children[0].architecture))
        assert '"runs": 20' in stored


def test_a_screen_has_only_what_it_prefers_measured(tmp_path, measured):
    space = {"max_latency": 1.27, "max_multiply_adds": "none", "max_blocks": 16}
    strategy = {"name": "serial", "odds": {"expand": 1.0}, "max_mutations": 6}
    settings = {**NULL, "space": space, "strategy": strategy, "screen": {"draws": 10}, "seed": 1}
    with spnas_search.search(**settings, budget=8, out=tmp_path / "run") as run:
        children = run.archive.of_kind("child")
    assert len(children) == 8
    assert all(len(child.architecture.digits) <= 12 for child in children)
    too_slow = [code for code in measured if len(Architecture.parse(code).digits) > 12]
    assert too_slow  # more blocks are better here, so these were preferred
    assert len(measured) == 1 + len(children) + len(too_slow)
    assert len(measured) < 8 * 10  # what was drawn


@pytest.mark.parametrize("most_rows", [1, 2])
def test_a_search_for_rows_has_only_whole_children_measured(tmp_path, measured, most_rows):
    """Not each row that might have been added on the way to one."""
    settings = {**NULL, "space": {"max_latency": 9.0}, "strategy": {"name": "parallel", "most_rows": most_rows}}
    with spnas_search.search(**settings, budget=4, out=tmp_path / "run") as run:
        children = [str(child.architecture) for child in run.archive.of_kind("child")]
    assert len(children) == 4
    assert sorted(measured) == sorted([str(START), *children])


def test_a_search_by_gradient_has_only_what_it_wants_measured():
    asked = []

    class Asks:
        is_measured = True

        def violation(self, architecture):
            asked.append(architecture)

    start = Architecture.parse("b@8_111-211-211-21")
    space = SearchSpace(1, 40, 1, 9, bounds=(Asks(),))
    decisions = Decisions(start)
    found = best_codes(decisions, Logits.drawn(decisions, np.random.default_rng(0)), space, 6)
    assert len(found) == 6
    assert asked == found
    assert space.quick.bounds == ()


def test_where_nothing_that_was_drawn_keeps_the_bound_others_are_drawn(tmp_path, measured):
    """One child of the start in seven is fast enough, and a round draws four; none is proposed twice."""
    settings = {**NULL, "space": {"max_latency": "1.05x", "max_multiply_adds": "none"}, "screen": {"draws": 1}}
    strategy = {"name": "serial", "odds": {"expand": 6.0, "swap": 1.0}, "max_mutations": 1, "round": 4}
    with spnas_search.search(**settings, strategy=strategy, budget=12, out=tmp_path / "run") as run:
        children = run.archive.of_kind("child")
    assert {len(child.architecture.digits) for child in children} == {8}
    assert Counter(child.round for child in children) == dict.fromkeys({child.round for child in children}, 4)
    assert len({child.architecture for child in children}) == 12


@pytest.mark.parametrize("limit", [1.05, "1.3x"])
def test_a_resumed_search_measures_nothing_again(tmp_path, measured, monkeypatch, limit):
    settings = {**NULL, "space": {"max_latency": limit}, "seed": 4}
    with spnas_search.search(**settings, budget=4, out=tmp_path / "run") as run:
        decided = [str(child.architecture) for child in run.archive.of_kind("child")]
    monkeypatch.setattr(latency, "measure_latency", lambda *_, **__: pytest.fail("measured a second time"))
    with spnas_search.search(out=tmp_path / "run", resume=True) as run:
        assert [str(child.architecture) for child in run.archive.of_kind("child")] == decided
        known = LatencyBound(limit, LatencyMeter("cpu", (64, 64), START, run.archive))
        assert all(known.violation(Architecture.parse(code)) is None for code in decided)


@pytest.mark.parametrize("screen", ["none", {"draws": 2}])
def test_a_device_that_fails_in_the_middle_is_named(tmp_path, measured, monkeypatch, screen):
    made_up = latency.measure_latency

    def fails(architecture, *size, **options):
        if len(measured) > 2:
            raise RuntimeError("CUDA out of memory.\nTried to allocate")
        return made_up(architecture, *size, **options)

    monkeypatch.setattr(latency, "measure_latency", fails)
    with pytest.raises(SpnasError, match=r"the latency of b@8\S+ on cpu cannot be measured: CUDA out of memory\.$"):
        spnas_search.search(**NULL, space={"max_latency": "2x"}, screen=screen, budget=8, out=tmp_path / "run")


def test_a_measurement_that_was_altered_is_seen(tmp_path, measured):
    longer = replace(START, stages=("111", "21", "21", "21"))
    with Archive.create(tmp_path / "a.db", objective=MetricSpec("score"), run_seed=0) as archive:
        bound = LatencyBound(0.85, LatencyMeter("cpu", (64, 64), START, archive))
        assert bound.violation(START) is None
        assert bound.violation(longer) == "0.95 ms on cpu (median 0.90) where max_latency = 0.85 ms"
        archive._connection.execute("UPDATE measurements SET value = '{}' WHERE subject = ?", (str(START),))
    assert measured == [str(START), str(longer)]
    with pytest.raises(ArchiveError, match=r"damaged: its latency cpu 64x64 of b@8_11-21-21-21 is not what"):
        Archive.open(tmp_path / "a.db")


def test_a_start_above_the_limit_is_refused_with_both_numbers(tmp_path, measured):
    with pytest.raises(SpaceError, match=r"0\.84 ms on cpu \(median 0\.80\) where max_latency = 0\.50 ms"):
        spnas_search.search(**NULL, space={"max_latency": 0.5}, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_codes_of_a_study_keep_the_bound(tmp_path, measured):
    settings = resolve({**NULL, "space": {"max_latency": 1.0, "max_multiply_adds": "none"}})
    paths = _paths(settings, NullTask(), SignalSettings(codes=6, epochs=4))
    assert all(1.05 * len(path[-1].child.digits) / 10 <= 1.0 for path in paths if path)
    assert len(measured) > 6


def test_other_bounds_are_asked_first(measured):
    space = SearchSpace(
        min_blocks=1, max_blocks=8, min_stages=1, bounds=(LatencyBound(9, LatencyMeter("cpu", (64, 64), START)),)
    )
    assert space.violations(replace(START, stages=("1111", "21", "21", "21"))) == ("10 blocks where max_blocks = 8",)
    assert measured == []
    assert START in replace(space, max_stages=4)
    assert measured == [str(START)]
