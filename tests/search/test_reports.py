"""Tables, lines and views say what the archive holds, in the metric's own direction, whatever the texts in it."""

import io
import json
import math
import sys

import pytest
from reported import NAN, settings, shown

from spnas_core.commands.console import PlainConsole
from spnas_core.commands.json_text import to_json
from spnas_core.tasks import Progress
from spnas_search.monitors.lines import Lines
from spnas_search.monitors.live import LiveView
from spnas_search.monitors.state import SearchState
from spnas_search.reports import candidate_json, candidate_lines, pareto_table

# Candidates, one by one


def test_a_line_per_candidate_says_everything(filled):
    archive = filled.add_all(("start", None, 0.5), ("control", 0, 0.5), ("child", 0, 0.75), ("child", 0, "told to"))
    lines = list(candidate_lines(archive, archive))
    headings = (
        "id kind parent architecture morphisms inherited score gain lead ±s.e. merit mult-adds params age time status"
    )
    assert lines[0].split() == headings.split()
    step = str(archive[2].rewrite.steps[0])
    facts = f"2 child 0 {archive[2].architecture} {step} 97.2 % 0.750 +0.250 +0.250 0.750 2 M 1 k 2 1:05 done"
    assert lines[3].split() == facts.split()
    assert " ".join(lines[4].split()).endswith("– – – – – – 2 0:00 failed: told to")
    assert lines[4].split()[:3] == ["3", "child", "0"]


def test_a_task_that_counts_no_cost_leaves_dashes(filled):
    filled.add("start", None, 0.5, {"parameters": NAN})
    filled.add("child", 0, 0.75, {})
    first, second = list(candidate_lines(filled.archive, filled.archive))[1:]
    assert " ".join(first.split()).endswith("0.500 – – 1 1:05 done")
    assert " ".join(second.split()).endswith("– – – – 2 1:05 done")


def test_reasons_are_printed_whole_and_as_they_are(filled):
    reason = "no [/data/photo.jpg] for [bold] " + "x" * 500
    archive = filled.add_all(("start", None, 0.5), ("child", 0, reason))
    # As an archive of an earlier version holds them.
    object.__setattr__(archive[1], "reason", f"{reason} \x1b[2J\udcff")
    assert list(candidate_lines(archive, archive))[2].endswith(rf"failed: {reason} \x1b[2J\udcff")


def test_json_of_a_candidate_is_strict_whatever_it_holds(filled):
    filled.add("start", None, NAN, {"multiply_adds": NAN})
    filled.add("child", 0, NAN)
    object.__setattr__(filled.archive[0], "receipt", {"change": (NAN, math.inf)})
    for candidate in filled.archive:
        values = json.loads(to_json(candidate_json(filled.archive, candidate)), parse_constant=pytest.fail)
        assert values["metrics"] == {"score": None}
        assert values["merit"] is values["gain"] is values["lead"] is None
        assert values["architecture"] == str(candidate.architecture)
    first = json.loads(to_json(candidate_json(filled.archive, filled.archive[0])))
    assert (first["cost"], first["receipt"]) == ({"multiply_adds": None}, {"change": [None, None]})


def calls_made(work) -> int:
    """Count the functions called: work, measured without a clock."""
    count = 0

    def profile(frame, event, argument):
        nonlocal count
        count += event == "call"

    before = sys.getprofile()
    sys.setprofile(profile)
    try:
        work()
    finally:
        sys.setprofile(before)
    return count


@pytest.mark.parametrize("as_json", [False, True])
def test_listing_a_candidate_takes_a_few_calls_however_many_there_are(filled, as_json):
    filled.add("start", None, 0.5)
    for number in range(100):
        filled.add("control", 0, 0.5)
        filled.add("child", 0, 0.5 + number / 1000)
        filled.add("child", 0, NAN)
        filled.add("child", 0, "broke [here]")
    archive = filled.archive

    def listing(count: int) -> int:
        chosen = list(archive)[:count]
        if as_json:
            return calls_made(lambda: [to_json(candidate_json(archive, candidate)) for candidate in chosen])
        return calls_made(lambda: list(candidate_lines(archive, chosen)))

    listing(10)  # what is imported or remembered once
    few, many = listing(100), listing(400)
    assert many - few < 100 * 300


# A metric of which less is better


def test_merits_are_shown_in_the_metrics_own_direction_and_gains_as_improvements(losing):
    assert losing.merit(losing[2]) == pytest.approx(-0.6)
    assert list(candidate_lines(losing, losing))[3].split()[-11:-7] == ["0.500", "+0.200", "+0.200", "0.600"]
    values = candidate_json(losing, losing[2])
    assert (values["merit"], values["gain"], values["lead"]) == tuple(map(pytest.approx, (0.6, 0.2, 0.2)))
    assert "0.600" in shown(pareto_table(losing))
    written: list[str] = []
    state = SearchState(settings(), losing)
    Lines(state, written.append).candidate_finished(losing[2])
    assert "loss 0.500  lead +0.200" in written[0]
    assert f"best 2 {losing[2].architecture} merit 0.600" in written[1]
    view = LiveView(state, PlainConsole(file=io.StringIO()))
    view.candidate_finished(losing[2])
    drawn = shown(view._draw())
    assert "merit 0.600 loss" in drawn
    assert "+0.200" in drawn
    assert "-0" not in drawn + shown(*candidate_lines(losing, losing), pareto_table(losing), *written)


def test_views_print_texts_from_outside_as_they_are(filled):
    archive = filled.add_all(("start", None, 0.5), ("child", 0, "no [/data/photo.jpg]"))
    file = io.StringIO()
    view = LiveView(SearchState(settings(), archive), PlainConsole(file=file, width=140))
    view.round_started("search", [archive[0]])
    view.progress(Progress(0, 1, 2, "epoch [/1] \x1b[2J"))
    view.candidate_finished(archive[1])
    view.message("plugin [/x] \a failed")
    drawn = file.getvalue() + shown(view._draw())
    for text in ("no [/data/photo.jpg]", r"epoch [/1] \x1b[2J", r"plugin [/x] \x07 failed"):
        assert text in drawn
