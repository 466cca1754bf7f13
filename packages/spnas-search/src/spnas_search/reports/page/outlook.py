"""What a run has come to: its verdict, what failed, what it took, and how to do it again."""

import json
import shlex
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from markupsafe import Markup

from spnas_core.commands.columns import Column, numbers
from spnas_core.commands.wording import duration
from spnas_core.pages import Row, bar, command, details, facts, paragraph, table
from spnas_search.archive.weights import NO_WEIGHTS
from spnas_search.driver.verdict import Verdict, outcome
from spnas_search.reports.closing import verdict_sentences, winner_sentences
from spnas_search.reports.page.view import RunView
from spnas_search.reports.verdicts import verdict_rows
from spnas_search.run import RunFolder
from spnas_search.run.verified import words
from spnas_search.wording import PHASES

_NAMED = 12
"""Failures of one reason that are named by number."""


def verdict(view: RunView) -> Iterator[Markup]:
    """Winner and start, trained alike, on images that had no part in the choice."""
    archive, settings = view.archive, view.run_settings
    if settings is None:
        yield paragraph("The settings are of another version of spnas-search: no verdict can be read off.", kind="note")
        return
    if archive.phase not in {"verdict", "training"} and view.state != "ended":
        yield paragraph("The verdict comes when the search is over.", kind="note")
        return
    found = outcome(archive, settings)
    texts = [*verdict_sentences(archive, found), *winner_sentences(archive)]
    yield paragraph(texts[0])
    if isinstance(found, Verdict):
        for trained in verdict_rows(found, archive.objective.name, view.phases):
            yield paragraph(trained.title + ":", kind="note")
            yield table(trained.columns, [Row(row, is_marked="winner" in row[0]) for row in trained.rows])
    for text in texts[1:]:
        yield paragraph(text, kind="note")


def failures(view: RunView) -> Iterator[Markup]:
    """What failed, by reason."""
    reasons: dict[str, list[int]] = defaultdict(list)
    for one in view.failed:
        reasons[one.reason].append(one.id)
    if not reasons:
        yield paragraph("No evaluation has failed.")
        return
    rows = []
    for reason, ids in sorted(reasons.items(), key=lambda found: -len(found[1])):
        named = ", ".join(map(str, ids[:_NAMED])) + (", …" if len(ids) > _NAMED else "")
        rows.append(Row((str(len(ids)), reason, named)))
    yield table((*numbers("times"), Column("reason"), Column("candidates")), rows, named_by=1)
    yield paragraph("To try them again:", kind="note")
    yield command(f"spnas retry {shlex.quote(str(view.folder))}")


def time(view: RunView) -> Iterator[Markup]:
    """What each phase took, and how far off a plan was."""
    archive, planned = view.archive, view.planned
    spent: dict[str, list[float]] = defaultdict(list)
    epochs: dict[str, int] = defaultdict(int)
    for one in archive:
        if one.status != "proposed":
            spent[one.phase].append(one.seconds)
            epochs[one.phase] += one.epochs
    total = sum(map(sum, spent.values())) or 1.0
    foreseen = {phase.name: phase.seconds for phase in planned.phases} if planned else {}
    more = numbers("planned", "off by") if planned else ()
    columns = (Column("phase"), *numbers("evaluations", "epochs", "time of one worker"), *more, Column("share"))
    rows = []
    for name in PHASES:
        if name in spent or name in foreseen:
            seconds = sum(spent[name])
            of_plan = (duration(foreseen.get(name)), _off(seconds, foreseen.get(name))) if planned else ()
            counted = (str(len(spent[name])), str(epochs[name]), duration(seconds))
            rows.append(Row((name, *counted, *of_plan, bar(seconds / total))))
    yield table(columns, rows)
    yield paragraph(f"Evaluations took {duration(archive.elapsed)} by the clock, {duration(total)} of work in all.")
    if planned:
        workers = f"{planned.workers} worker{'s' if planned.workers > 1 else ''}"
        when = "in the end" if view.state == "ended" else "so far"
        yield paragraph(
            f"spnas plan foresaw {duration(planned.seconds)} by {workers}: it was off by "
            f"{_off(archive.elapsed, planned.seconds)} {when}."
        )


def _off(found: float, foreseen: float | None) -> str:
    return f"{found / foreseen - 1:+.0%}" if foreseen else ""


def verified(view: RunView) -> Iterator[Markup]:
    """What ``spnas verify`` has found, where it has left it."""
    if view.verified is not None:
        found = view.verified.findings
        rows = [Row((one.part, words(one), one.found), is_marked=one.holds is False) for one in found]
        yield table((Column("part"), Column(""), Column("found")), rows)
        yield paragraph(f"By spnas verify --keep, {view.verified.when}.", kind="note")


def _as_before(settings: Mapping[str, Any]) -> Iterator[str]:
    """What a new run must be told of settings that were not there yet when an old one began."""
    if "screen" in settings:
        return
    yield "--set screen=none"
    strategy = settings.get("strategy", {})
    if strategy.get("name") == "serial" and "explore" not in strategy:
        yield "--set strategy.explore=0"


def _once_more(settings: Mapping[str, Any]) -> str:
    """Say what the same settings come to when they run again: the same decisions, but for what a clock has a say in."""
    clocks = ", and ".join(_clocks(settings))
    if clocks:
        return f"The same search once more; what it decides may differ, since {clocks}:"
    return "The same search once more, with the same decisions:"


def _clocks(settings: Mapping[str, Any]) -> Iterator[str]:
    """Yield what of a search hangs on time that is measured."""
    if settings.get("asynchronous"):
        yield "it goes on from whichever evaluation ends first (asynchronous)"
    if settings.get("budget", {}).get("hours") is not None:
        yield "the clock ends it (budget.hours)"
    if settings.get("space", {}).get("max_latency", "none") != "none" or "latency" in settings.get("pareto", ()):
        yield "latency is measured anew"


def _uses(view: RunView) -> Iterator[str]:
    """Yield what can be done with the winner: detectors alone are trained on, and verified is what has weights."""
    folder, winner = shlex.quote(str(view.folder)), view.archive.winner
    if winner is None:
        return
    if view.settings.get("task", {}).get("name", "detection") == "detection":
        yield from (f"spnas train {folder}", f"spnas predict {folder} IMAGE…")
    if view.archive.trained(winner).checksum not in {None, NO_WEIGHTS}:
        yield f"spnas verify {folder}"


def again(view: RunView) -> Iterator[Markup]:
    """The commands that repeat the run, go on with it, and use what it has found; and all that it was computed from."""
    folder, archive = shlex.quote(str(view.folder)), view.archive
    config = shlex.quote(str(RunFolder(view.folder).config))
    yield paragraph(_once_more(view.settings))
    yield command(" ".join(["spnas run --config", config, *_as_before(view.settings), f"--out {folder}-again"]))
    if view.state != "ended":
        yield paragraph("To go on with this one:")
        yield command(f"spnas run --out {folder} --resume")
    if uses := tuple(_uses(view)):
        yield paragraph("To use what it has found:")
        yield command(*uses)
    versions = json.loads(archive.recall("versions") or "{}")
    yield facts(
        [
            ("begun", f"{archive.created:%Y-%m-%d %H:%M} UTC"),
            ("seed", str(archive.run_seed)),
            ("inherit", archive.inherit),
            ("ranking", str(view.settings.get("ranking", "gains"))),
            ("data", str(view.settings.get("task", {}).get("data", "–"))),
            *((name, str(version)) for name, version in versions.items()),
        ]
    )
    try:
        text = RunFolder(view.folder).config.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return
    yield details("run.toml", command(*text.splitlines()))
