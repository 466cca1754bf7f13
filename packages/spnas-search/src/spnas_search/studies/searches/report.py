"""The report of a study of searches: what each way to search has spent and is worth, what each search has found."""

import math
from collections.abc import Iterator

from rich.console import RenderableType

from spnas_core.commands.columns import Column, numbers
from spnas_core.commands.wording import UNDEFINED, amount, number
from spnas_search.statistics import Interval, mean_interval
from spnas_search.studies.pages import Table, failures, markdown_page, printed
from spnas_search.studies.searches.found import ALIKE
from spnas_search.studies.searches.layout import STEM, shares_by_reduction
from spnas_search.studies.searches.results import ArmResult, SearchesResults


def searches_parts(results: SearchesResults) -> Iterator[RenderableType]:
    """Yield what is printed: four tables, and sentences."""
    return printed(_tables(results), searches_sentences(results))


def searches_markdown(results: SearchesResults, *, plot: str) -> str:
    """Return the same as a page of Markdown; ``plot`` names the image that belongs to it."""
    title, caption = f"Searches from {results.plan.start}", "what each way to search has found, trained from scratch"
    return markdown_page(title, searches_sentences(results), plot, caption, _tables(results))


def searches_sentences(results: SearchesResults) -> Iterator[str]:
    """Say what the study has found, and how far it goes."""
    plan, name = results.plan, results.objective.name
    settings = plan.settings
    wanted = len(plan.arms) * settings.searches
    ended = sum(arm.searches for arm in results.arms)
    less = settings.sampled_trainings != settings.trainings
    but = f" (a sampled code {_times(settings.sampled_trainings)})" if less else ""
    yield (
        f"Each winner, and what it is compared with, is trained from scratch {_times(settings.trainings)}{but} for "
        f"{settings.epochs} epochs; {name} is that on {settings.split} images."
    )
    if ended < wanted or results.done + len(results.failed) < len(plan.jobs):
        yield (
            f"So far: {ended} of {wanted} searches have ended and {results.done} of {len(plan.jobs)} trainings are in; "
            "the numbers are those of what is in."
        )
    for arm in results.arms:
        if arm.over_sampled is not None:
            yield _verdict(arm.arm, arm.over_sampled, name)
    yield (
        "Over sampled: winners above one code each, drawn at random from the same space, whose multiply-adds differ "
        f"by at most a factor of {ALIKE} where such codes were found, in searches whose space holds any other code; so "
        "size alone is no merit. P: share of searches "
        "whose winner is better than its sampled code, with Wilson's interval; 0.5 is luck. Over random: above the "
        "winners of random search at the same budget, of those that inherit alike where there are such. τ: Kendall's, "
        "of a search's own order of codes with that of trainings from scratch, a mean over searches with Student's "
        "interval, and the probability of as much by chance. All intervals are 95 %; where there is none, "
        "values are too few, or never vary, as where one training is read off a table several times."
    )
    if results.failed:
        yield failures(results.failed)


def _times(count: int) -> str:
    return {0: "never", 1: "once", 2: "twice"}.get(count, f"{count} times")


def _verdict(arm: str, found: Interval, name: str) -> str:
    if found.excludes_zero:
        said = (
            f"finds {'better' if found.mean > 0 else 'worse'} architectures than sampling codes of the same cost does"
        )
    else:
        said = "is not shown to find better architectures than sampling codes of the same cost"
    return f"{arm} {said}: {_signed(found)} {name} over {found.count} searches."


def _tables(results: SearchesResults) -> Iterator[Table]:
    name = results.objective.name
    spent = Column("search"), *numbers("searches", "evaluations", "epochs", "mult-adds", name)
    rows = [_spent(arm) for arm in results.arms]
    keys = (one.sampled for ones in results.plan.judged.values() for one in ones)
    sampled = dict(zip(keys, results.sampled, strict=True)).values()  # trainings that two ways share count once
    for title, scores in (("(sampled codes)", sampled), ("(start)", results.start)):
        known = [score for score in scores if math.isfinite(score)]
        rows.append((title, *[UNDEFINED] * 4, _interval(mean_interval(known) if known else None)))
    yield "Ways to search, at equal budgets", spent, rows
    worth = Column("search"), *numbers("over sampled", "P", "over random", "over start", "τ", "p")
    yield "What they are worth", worth, [_worth(arm) for arm in results.arms]
    found = Column("search"), *numbers("number"), Column("winner"), *numbers(name, "sampled code's")
    yield "What each search has found", found, list(_found(results))
    yield "Where winners compute: shares of multiply-adds by resolution", *_layouts(results)


def _spent(arm: ArmResult) -> tuple[str, ...]:
    return (
        arm.arm,
        str(arm.searches),
        _rounded(arm.evaluations),
        _rounded(arm.epochs),
        amount(arm.multiply_adds),
        _interval(arm.mean),
    )


def _worth(arm: ArmResult) -> tuple[str, ...]:
    share, agreement = arm.better_than_sampled, arm.agreement
    return (
        arm.arm,
        _signed(arm.over_sampled),
        UNDEFINED if share is None else f"{share.value:.2f} ({share.low:.2f}…{share.high:.2f})",
        "" if arm.is_random else _signed(arm.over_random),
        _signed(arm.over_start),
        UNDEFINED if agreement is None else _interval(agreement.tau, places=2),
        UNDEFINED if agreement is None else f"{agreement.p_value:.2g}",
    )


def _found(results: SearchesResults) -> Iterator[tuple[str, ...]]:
    sampled = iter(results.sampled)
    for arm in results.arms:
        for judged, score in zip(results.plan.judged[arm.arm], arm.scores, strict=True):
            found = judged.found
            yield arm.arm, str(found.number), found.winner, number(score), number(next(sampled))


def _layouts(results: SearchesResults) -> tuple[tuple[Column, ...], list[tuple[str, ...]]]:
    """Return a column per resolution, and a row for the start and for each way to search that has found something."""
    plan = results.plan
    codes = {"(start)": [plan.start]}
    codes |= {arm: [one.found.winner for one in plan.judged[arm]] for arm in plan.arms if plan.judged[arm]}
    shares = {name: shares_by_reduction(found) for name, found in codes.items()}
    resolutions = sorted(set().union(*shares.values()))
    heads = ("stem" if reduction == STEM else f"1/{reduction}" for reduction in resolutions)
    rows = [(name, *(f"{found.get(one, 0):.0%}" for one in resolutions)) for name, found in shares.items()]
    return (Column("winners of"), *numbers(*heads)), rows


def _rounded(value: float) -> str:
    return UNDEFINED if math.isnan(value) else f"{value:,.0f}"


def _interval(found: Interval | None, places: int = 3) -> str:
    if found is None:
        return UNDEFINED
    return f"{found.mean:.{places}f}{_half(found, places)}"


def _signed(found: Interval | None) -> str:
    if found is None:
        return UNDEFINED
    return f"{found.mean:+.3f}{_half(found)}"


def _half(found: Interval, places: int = 3) -> str:
    """Return the interval's half width, where there is one and it is more than a point."""
    return f" ± {found.high - found.mean:.{places}f}" if found.is_known and not found.is_point else ""
