"""The report of a signal study: a table of the ways to score codes, one of the codes, and what both say."""

import math
from collections.abc import Iterator

from rich.console import RenderableType

from spnas_core.commands.columns import Column, numbers
from spnas_core.commands.wording import UNDEFINED, amount, number
from spnas_search.statistics import FEWEST_FOR_INTERVAL, RESAMPLES, Heritability, RankCorrelation
from spnas_search.studies.pages import Table, markdown_page, printed
from spnas_search.studies.signal import SHARING
from spnas_search.studies.signal_results import ArmResult, SignalResults

ORDER = ("scratch", "none", "warm-start", "parent", "inherited")
"""Ways in the order of the table."""

SHARED_MARK = "*"
"""Says that a way's trainings of one repetition share a warm start."""


def signal_parts(results: SignalResults) -> Iterator[RenderableType]:
    """Yield what is printed: two tables, and sentences."""
    return printed(_tables(results), signal_sentences(results))


def signal_markdown(results: SignalResults, *, plot: str) -> str:
    """Return the same as a page of Markdown; ``plot`` names the image that belongs to it."""
    title = f"Signal of {results.objective.name}: {results.plan.codes[0]}"
    caption = "scores of each code, and rank correlations of each way with the truth"
    return markdown_page(title, signal_sentences(results), plot, caption, _tables(results))


def signal_sentences(results: SignalResults) -> Iterator[str]:
    """Say what the study has found, and how far it goes."""
    plan, truth = results.plan, results.of(results.plan.truth)
    settings, name = plan.settings, results.objective.name
    yield (
        f"The truth: {settings.codes} codes × {settings.trainings} trainings from scratch for {settings.epochs} "
        f"epochs, {name} on {settings.meant} images."
    )
    if results.done + results.left_out < len(plan.jobs):
        yield f"So far: {results.done} of {len(plan.jobs)} trainings are in, and the numbers are those of what is in."
    if truth is not None and truth.heritability is not None:
        yield _truth_sentence(truth.heritability, name)
    if results.doubling is not None:
        yield _doubling_sentence(results)
    if plan.seen_truth is not None:
        yield from _seen_sentences(results)
    if results.ceiling is not None and math.isfinite(results.ceiling):
        yield (
            f"The truth's means have luck in them, too: a score without any would correlate with them, one training "
            f"left out, by {results.ceiling:.2f} on average. No number here is corrected for that."
        )
    yield (
        "Ways: scratch and none begin with fresh weights; warm-start with the start's warm start, through the composed "
        f"rewrite; parent with a chain of {settings.links} links from the warm start, the last ones the code's "
        "rewrites one by one, the others the start trained on; inherited is warm-start, trained on as long as the "
        f"truth. Per score: epochs, those of warm starts and chains shared among {settings.codes} codes. Within, "
        "between: standard deviations of trainings of one code, and of codes."
    )
    yield (
        "Correlations are Spearman's, of one repetition's scores with the means of the truth's trainings in the other "
        "repetitions, averaged over repetitions. Intervals are 95 %: of heritability from the F distribution, of "
        f"correlations from {RESAMPLES} bootstrap samples of the codes, {FEWEST_FOR_INTERVAL} or more of them."
    )
    if any(result.arm.how in SHARING for result in results.arms):
        yield (
            f"{SHARED_MARK} Trainings of one repetition share a warm start of {plan.warm_epochs} epochs: what it adds "
            "to all codes alike is taken out of the variances, since a search compares codes within it."
        )
    if any(result.with_inherited is not None for result in results.arms):
        yield (
            f"The 2nd truth is another question: which code ends best if it inherits from a warm start and is trained "
            f"on for {settings.epochs} epochs."
        )
    if results.failed:
        yield (
            f"Trainings that failed and count nowhere: {len(results.failed)}"
            f"{f', and {results.left_out} that would inherit from them' if results.left_out else ''}; the first is "
            f"{results.failed[0].key}: {results.failed[0].reason}"
        )


def _truth_sentence(found: Heritability, name: str) -> str:
    if not math.isfinite(found.low):
        return f"All trainings of the truth have the same {name}: there is nothing to tell codes apart by."
    doubt = "" if found.low > 0 else "; that codes differ at all is not shown"
    sigma, tau = number(math.sqrt(found.within)), number(math.sqrt(found.between_clipped))
    return (
        f"Heritability of one training is {_share(found)}: trainings of one code "
        f"differ by σ = {sigma} {name}, codes by τ = {tau} "
        f"(p = {_probability(found.p_value)} if they did not differ{doubt})."
    )


def _doubling_sentence(results: SignalResults) -> str:
    plan, found = results.plan, results.doubling
    by_luck = _expected("doubling changed nothing but luck", results.doubling_by_luck)
    return (
        f"Is the truth long enough? Kendall's τ of the codes' means after {plan.truth.epochs} and after "
        f"{plan.doubled.epochs} epochs is {_correlation(found)}{by_luck}."
    )


def _seen_sentences(results: SignalResults) -> Iterator[str]:
    plan, settings = results.plan, results.plan.settings
    yield (
        f"Ways are scored on {settings.seen} images, which is what a search sees, and the truths' trainings on these "
        f"and on {settings.meant} images."
    )
    seen = None if plan.seen_truth is None else results.of(plan.seen_truth)
    if seen is None or seen.with_truth is None:
        return
    by_luck = _expected("both kinds of images said the same of every code", results.seen_by_luck)
    yield (
        f"Does what is seen hold on {settings.meant} images? One training's scores on {settings.seen} images and the "
        f"means of the others on {settings.meant} images have Spearman's ρ {_correlation(seen.with_truth)}{by_luck}."
    )


def _expected(condition: str, value: float | None) -> str:
    """Say what a correlation would be under a condition, where that is known."""
    known = value is not None and math.isfinite(value)
    return f"; if {condition}, about {value:.2f} would be expected" if known else ""


def _tables(results: SignalResults) -> Iterator[Table]:
    """Yield title, columns and rows of each table."""
    name = results.objective.name
    columns = (
        Column("way, epochs"),
        *numbers("per score", "scores", name, "within", "between", "heritability", "p", "with truth", "with 2nd truth"),
    )
    ordered = sorted(
        results.arms, key=lambda result: (ORDER.index(result.arm.how), result.arm.epochs, result.arm.images)
    )
    several = results.plan.seen_truth is not None
    yield "Ways to score a code", columns, [_way_row(result, says_images=several) for result in ordered]
    columns = Column("code"), *numbers("mult-adds", f"truth: {name}", "each training", *_other_truths(results))
    yield "Codes, the best of the truth first", columns, _code_rows(results)


def _way_row(result: ArmResult, *, says_images: bool) -> tuple[str, ...]:
    found, images = result.heritability, f", {result.arm.images}" if says_images else ""
    return (
        f"{result.arm.how}{SHARED_MARK if result.arm.how in SHARING else ''} {result.arm.epochs}{images}",
        f"{result.epochs_per_evaluation:.1f}",
        str(result.count),
        number(result.mean),
        number(None if found is None else math.sqrt(found.within)),
        _between(found),
        UNDEFINED if found is None else _share(found),
        UNDEFINED if found is None else _probability(found.p_value),
        _correlation(result.with_truth),
        _correlation(result.with_inherited),
    )


def _other_truths(results: SignalResults) -> dict[str, ArmResult]:
    """Other means of the codes that stand beside the truth's, by the titles of their columns."""
    plan = results.plan
    named = {f"after {plan.doubled.epochs}": plan.doubled, "2nd truth": plan.inherited}
    if plan.seen_truth is not None:
        named = {f"{plan.seen_truth.images}": plan.seen_truth, **named}
    return {name: found for name, arm in named.items() if (found := results.of(arm)) is not None}


def _code_rows(results: SignalResults) -> list[tuple[str, ...]]:
    plan = results.plan
    others = _other_truths(results).values()
    truth = results.of(plan.truth)
    means = truth.code_means() if truth is not None else []
    sign = -1 if results.objective.higher_is_better else 1
    order = sorted(range(len(means)), key=lambda place: (math.isnan(means[place]), sign * means[place], place))
    return [
        (
            plan.codes[place] + (" (start)" if place == 0 else ""),
            amount(results.costs.get(plan.codes[place])),
            number(means[place]),
            " ".join(number(score) for score in (truth.scores[place] if truth else ())),
            *(number(other.code_means()[place]) for other in others),
        )
        for place in order
    ]


def _between(found: Heritability | None) -> str:
    if found is None:
        return UNDEFINED
    if found.between < 0:
        return f"0 (τ² {found.between:.0e})"
    return number(math.sqrt(found.between))


def _share(found: Heritability) -> str:
    if found.high == 0:  # the interval is empty, not exact
        return f"{found.share:.2f} (codes differ by less than luck makes them)"
    return _interval(found.share, found.low, found.high)


def _interval(value: float, low: float, high: float) -> str:
    if not math.isfinite(value):
        return UNDEFINED
    return f"{value:.2f}" if not math.isfinite(low) else f"{value:.2f} ({low:.2f}…{high:.2f})"


def _correlation(found: RankCorrelation | None) -> str:
    return UNDEFINED if found is None else _interval(found.value, found.low, found.high)


def _probability(value: float) -> str:
    if not math.isfinite(value):
        return UNDEFINED
    return f"{value:.3f}" if value >= 0.001 else f"{value:.0e}"
