"""The report of a run says what its archive holds, at every moment of a search, and every text in it stays text."""

import json
import shlex
import shutil
from types import SimpleNamespace

import pytest
from commands import NULL, budget, done, invoke, refused, rows
from filled import Filled, populated
from pages import cells, parse_page, points, sections

import spnas_search
from spnas_core.commands.wording import number
from spnas_core.configuration import read_toml, write_toml
from spnas_core.tasks import Evaluation
from spnas_search.archive import Archive, RunLock
from spnas_search.archive.weights import NO_WEIGHTS
from spnas_search.cli import report as command
from spnas_search.reports.page import scores
from spnas_search.testing import NullTask

EVIL = "<script>alert('x')</script> & \"quoted\""


def read(folder, *options):
    done("report", folder, *options)
    return parse_page((folder / "report.html").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A search of six children that has come to its end, one of them failed."""
    out = tmp_path_factory.mktemp("runs") / "a run"
    done("run", "serial", *NULL, *budget(6, 2), "--set", "task.behaviour={6 = 'raise'}", "--out", out)
    return out


@pytest.fixture
def filled(tmp_path):
    """A run's folder whose archive is filled by hand."""

    def make(fill):
        archive = fill(tmp_path)
        archive.close()
        return tmp_path

    return make


def test_a_finished_run_has_everything(finished):
    page = read(finished)
    found, known = sections(page), rows(finished)
    assert list(found) == [
        *("verdict", "front", "networks", "descent", "curves", "merit"),
        *("inheritance", "candidates", "failures", "time", "again"),
    ]
    assert page.one("p", class_="status").text.startswith("The search is over after 6 children and ")
    nodes = [one for one in known if one["kind"] in {"start", "child"}]
    assert set(points(page)) == {str(one["id"]) for one in nodes}
    assert [row[0] for row in cells(found["candidates"].one("table"))[:2]] == [
        str(one["id"]) for one in sorted((n for n in nodes if n["merit"] is not None), key=lambda n: -n["merit"])[:2]
    ]
    winner = max((one for one in nodes if one["merit"] is not None), key=lambda one: one["merit"])
    assert str(winner["architecture"]) in found["networks"].text
    assert cells(found["descent"].one("table"))[-1][6] == number(winner["metrics"]["score"])
    failed = next(one for one in known if one["status"] == "failed")
    assert cells(found["failures"].one("table")) == [["1", failed["reason"], str(failed["id"])]]
    assert sum(int(row[1]) for row in cells(found["time"].one("table"))) == len(known)
    assert {"winner", "gain on test images"} <= {one.text for one in page.all("dt")}


def test_charts_have_a_point_per_candidate_and_agree_with_the_archive(finished):
    chart = sections(read(finished))["front"].one("svg", class_="chart")
    known = {str(one["id"]): one for one in rows(finished) if one["merit"] is not None}
    keyed = [one for one in chart.all("circle") if "data-key" in one.attributes]  # a front of one has another
    dots = {one.attributes["data-key"]: one.attributes for one in keyed}
    assert set(dots) == set(known)
    by_cost = sorted(known, key=lambda key: known[key]["cost"]["multiply_adds"])
    assert [float(dots[key]["cx"]) for key in by_cost] == sorted(float(one["cx"]) for one in dots.values())
    by_merit = sorted(known, key=lambda key: -known[key]["merit"])
    assert [float(dots[key]["cy"]) for key in by_merit] == sorted(float(one["cy"]) for one in dots.values())


def test_the_command_in_it_repeats_the_search(finished, tmp_path, monkeypatch):
    argv = shlex.split(next(iter(sections(read(finished))["again"].all("pre"))).text)
    assert argv[:2] == ["spnas", "run"]
    monkeypatch.chdir(tmp_path)
    again = tmp_path / "again"
    done(*argv[1:-1], again)
    same = ("kind", "architecture", "metrics", "seed", "status")
    assert [[one[key] for key in same] for one in rows(again)] == [[one[key] for key in same] for one in rows(finished)]


def section_again(run, altered):
    """The report's last section for a run whose archive and weights are ``run``'s, with some settings altered."""
    with Archive.open(run / "archive.db") as archive:
        values = json.loads(archive.recall("settings"))
        archive.remember("settings", json.dumps({**values, **altered}))
    return sections(read(run))["again"]


@pytest.mark.parametrize(
    ("altered", "said"),
    [
        ({}, "The same search once more, with the same decisions:"),
        ({"asynchronous": True}, "it goes on from whichever evaluation ends first (asynchronous):"),
        ({"budget": {"hours": 0.5}}, "may differ, since the clock ends it (budget.hours):"),
        ({"asynchronous": True, "budget": {"hours": 0.5}}, "(asynchronous), and the clock ends it (budget.hours):"),
        ({"space": {"max_latency": "1.5x"}}, "may differ, since latency is measured anew:"),
        ({"pareto": ["latency"]}, "may differ, since latency is measured anew:"),
    ],
)
def test_the_same_decisions_are_promised_only_where_no_clock_has_a_say(finished, tmp_path, altered, said):
    text = section_again(shutil.copytree(finished, tmp_path / "run"), altered).text
    assert said in text
    assert ("the same decisions" in text) == (not altered)


@pytest.mark.parametrize(("task", "is_detector"), [("detection", True), ("null", False), ("a-plugins", False)])
@pytest.mark.parametrize("has_weights", [True, False])
def test_a_winner_is_trained_on_where_it_is_a_detector_and_verified_where_it_has_weights(
    finished, tmp_path, task, is_detector, has_weights
):
    run = shutil.copytree(finished, tmp_path / "run")
    if not has_weights:
        with Archive.open(run / "archive.db") as archive:
            archive.replace_weights(archive.trained(archive.winner).id, NO_WEIGHTS)
    text = section_again(run, {"task": {"name": task}}).text
    assert ("spnas train" in text, "spnas predict" in text) == (is_detector, is_detector)
    assert ("spnas verify" in text) == has_weights
    assert ("To use what it has found:" in text) == (is_detector or has_weights)


def test_the_command_repeats_a_search_from_before_strategies_had_screens(finished, tmp_path):
    old = shutil.copytree(finished, tmp_path / "old")
    values = read_toml(old / "run.toml")
    for key in ("screen", "explore"):
        (values if key in values else values["strategy"]).pop(key, None)
    write_toml(values, old / "run.toml")
    with Archive.open(old / "archive.db") as archive:
        archive.remember("settings", json.dumps(values))
    argv = shlex.split(next(iter(sections(read(old))["again"].all("pre"))).text)
    assert argv[4:-2] == ["--set", "screen=none", "--set", "strategy.explore=0"]


def test_a_named_candidates_descent_is_told(finished):
    page = read(finished)
    child = next(one for one in rows(finished) if one["kind"] == "child" and one["status"] == "done")
    done("report", f"{finished}:{child['id']}")
    named = parse_page((finished / "report.html").read_text())
    assert cells(sections(named)["descent"].one("table"))[-1][0] == str(child["id"])
    assert named.one("h1").text == page.one("h1").text == str(finished)


@pytest.mark.parametrize("stage", ["no archive yet", "empty", "start proposed", "start done"])
def test_a_run_that_has_hardly_begun_says_so(tmp_path, stage):
    with spnas_search.run.start_run(
        tmp_path / "run", {"task": {"name": "null"}, "executor": {"name": "inline"}}, lambda *_: None
    ) as run:
        if stage.startswith("start"):
            from spnas_search.driver import next_round

            decided = next_round(run.archive, run.settings.run, run.strategy)
            run.archive.commit_round(decided.proposals, threads=1, phase=decided.phase)
        if stage == "start done":
            run.archive.finish(0, Evaluation({"score": 0.5, "loss": 0.5}, {"multiply_adds": 5.0}), None)
        if stage == "no archive yet":
            shutil.move(run.files.archive, tmp_path / "elsewhere")
        page = read(tmp_path / "run")
        if stage == "no archive yet":
            shutil.move(tmp_path / "elsewhere", run.files.archive)
    status = page.one("p", class_="status")
    assert "going" in status.attributes["class"]
    wanted = {"no archive yet": "Nothing is in the archive yet", "start proposed": "1 evaluation under way"}
    assert wanted.get(stage, "The search is going on: 0 children") in status.text
    again = read(tmp_path / "run")
    assert "going" not in again.one("p", class_="status").attributes["class"].split()


@pytest.mark.parametrize("has_weights", [True, False])
def test_a_lost_archive_leaves_the_report_as_it_was(finished, tmp_path, has_weights):
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    done("report", run)
    before = (run / "report.html").read_bytes()
    (run / "archive.db").unlink()
    if not has_weights:
        shutil.rmtree(run / "weights")
    way_out = "start another run with --out elsewhere" if has_weights else "begin with spnas run --resume"
    for reference in (run, f"{run}:2"):
        message = f"error: {run / 'archive.db'} is missing, and with it all results: restore a copy, or {way_out}"
        assert refused("report", reference) == message
    assert (run / "report.html").read_bytes() == before


def test_losses_failures_and_what_has_no_merit_are_shown(filled):
    def fill(folder):
        archive = populated(folder)
        undefined = Filled.__new__(Filled)
        undefined.archive = archive
        undefined.child(float("nan"))
        return archive

    found = sections(read(filled(fill)))
    assert "told to" in found["failures"].text
    assert "which rank nowhere" in found["merit"].text
    listed = cells(found["candidates"].one("table"))
    assert [row[-1] for row in listed].count("failed: told to") == 1


def test_of_a_loss_lower_is_better(filled):
    def fill(folder):
        losing = Filled(folder, higher_is_better=False)
        losing.control(0, 0.5)
        losing.child(0.4)
        return losing.archive

    found = sections(read(filled(fill)))
    assert "merit (score, lower is better)" in found["front"].text
    assert cells(found["merit"].one("table"))[0][4] == "0.400"


def test_texts_of_plugins_and_data_stay_text(tmp_path, monkeypatch):
    def fails(self, request, report):
        if request.candidate > 5:
            raise ValueError(EVIL)
        return evaluate(self, request, report)

    evaluate = NullTask.evaluate
    monkeypatch.setattr(NullTask, "evaluate", fails)
    out = tmp_path / "<b>run</b>"
    invoke("run", "serial", *NULL, *budget(4), "--set", "alike_failures=9", "--set", "noise_seeds=4", "--out", out)
    page = read(out)
    reasons = [row[1] for row in cells(sections(page)["failures"].one("table"))]
    assert any(EVIL in reason for reason in reasons)
    assert any(EVIL in line for lines in points(page).values() for line in lines)
    assert page.one("h1").text == str(out)
    assert len([one for one in page.all("script") if "type" not in one.attributes]) == 1
    assert not list(page.all("b"))


def test_a_report_writes_nothing_else(finished):
    before = {path: path.stat().st_mtime_ns for path in finished.rglob("*") if path.name != "report.html"}
    read(finished)
    after = {path: path.stat().st_mtime_ns for path in finished.rglob("*") if path.name != "report.html"}
    assert before == after


def test_what_is_no_run_is_refused_in_one_line(finished, tmp_path):
    assert "is nothing to report on: name the folder of a run" in refused("report", tmp_path / "nowhere")
    assert "is nothing to report on" in refused("report", tmp_path)
    assert "there is no candidate 999" in refused("report", f"{finished}:999")
    nowhere = tmp_path / "nowhere" / "x.html"
    assert refused("report", finished, "--out", nowhere) == (
        f"error: {nowhere} cannot be written: No such file or directory; name another file by --out"
    )
    assert "cannot be written: Is a directory" in refused("report", finished, "--out", tmp_path)
    (tmp_path / "archive.db").write_text("no database")
    assert "is no spnas archive, or is damaged" in refused("report", tmp_path)
    series = tmp_path / "series"
    (series / "seed-0").mkdir(parents=True)
    (series / "series.toml").touch()
    assert f"report on each of its runs, such as {series / 'seed-0'}" in refused("report", series)


def test_watching_ends_with_the_run(finished, tmp_path, monkeypatch):
    out = tmp_path / "run"
    shutil.copytree(finished, out)
    lock, pages = RunLock(out), []

    def sleep(seconds):
        assert seconds == 3.0
        pages.append(parse_page((out / "report.html").read_text()).one("html").attributes)
        if len(pages) == 2:
            lock.release()

    monkeypatch.setattr(command.time, "sleep", sleep)
    lock.acquire()
    done("report", out, "--watch", "--every", "3")
    assert [one.get("data-reload") for one in pages] == [
        "3.0",
        "3.0",
        "3.0",
    ]  # the last: nobody is at work, or for once
    assert "data-reload" not in parse_page((out / "report.html").read_text()).one("html").attributes
    assert not list(out.glob(".report*"))


def test_watching_is_ended_by_ctrl_c(finished, monkeypatch):
    def interrupted(seconds):
        raise KeyboardInterrupt

    monkeypatch.setattr(command.time, "sleep", interrupted)
    with RunLock(finished):
        result = invoke("report", finished, "--watch")
    assert result.exit_code == 130


def test_a_plan_that_was_left_is_compared(tmp_path):
    out = tmp_path / "run"
    done("plan", "serial", *NULL, *budget(2), "--out", out)
    assert [path.name for path in out.iterdir()] == ["planned.json"]
    done("run", "serial", *NULL, *budget(2), "--out", out)
    planned = json.loads((out / "planned.json").read_text())
    planned |= {"seconds": 4000.0, "phases": [{"name": "start", "seconds": 60.0}, {"name": "search", "seconds": 120.0}]}
    (out / "planned.json").write_text(json.dumps(planned))
    found = sections(read(out))["time"]
    assert "spnas plan foresaw 1:06:40" in found.text
    assert "it was off by -100% in the end" in found.text
    columns = [one.text for one in found.all("th")]
    assert columns[4:6] == ["planned", "off by"]
    assert "1:00" in [row[4] for row in cells(found.one("table"))]
    (out / "planned.json").write_text("[]")
    assert "holds no plan" in read(out).one("p", class_="status").text


def test_what_verify_has_kept_is_shown(finished, tmp_path):
    out = tmp_path / "run"
    shutil.copytree(finished, out)
    assert "verified" not in sections(read(out))
    done("verify", out, "--keep")
    rows_ = cells(sections(read(out))["verified"].one("table"))
    assert [row[0] for row in rows_] == ["packages", "code", "weights", "data", "score"]
    assert (rows_[2][1], rows_[4][1]) == ("holds", "holds")
    (out / "verified.json").write_text('{"when": "now", "findings": [{"part": "x", "found": "y", "holds": 7}]}')
    assert "verified.json holds no findings (holds is 7)" in read(out).one("p", class_="status").text


@pytest.mark.parametrize("every", ["nan", "inf", "1e12", "0"])
def test_a_time_to_wait_is_one_that_can_be_waited(finished, every):
    result = invoke("report", finished, "--watch", "--every", every)
    assert result.exit_code == 2
    assert "--every" in result.output


def test_the_line_that_is_called_the_starts_is_the_starts(tmp_path):
    """Under ``gains`` the last control is that of another parent."""
    for seed in range(8):
        with spnas_search.search(
            task={"name": "null", "noise": 0.02},
            executor={"name": "inline"},
            strategy={"name": "hill-climb"},
            ranking="gains",
            seed=seed,
            budget=12,
            out=tmp_path / str(seed),
        ) as run:
            last = run.archive.of_kind("control")[-1]
            (shown,) = scores._trained_on(SimpleNamespace(archive=run.archive))
            assert shown.subject == run.archive.start.id
            if last.subject != run.archive.start.id:
                return
    raise AssertionError("in no search the last control is another's")
