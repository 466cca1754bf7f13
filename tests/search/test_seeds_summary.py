"""What several searches say together."""

from dataclasses import replace

import pytest
from reported import BEATEN, settings, shown, verdict_of

from spnas_search.driver import NoVerdict, Verdict, outcome
from spnas_search.driver.verdict import Column
from spnas_search.reports.seeds import SeedsSummary


@pytest.fixture
def compared(filled):
    """A verdict with a gain of 0.1."""
    return outcome(filled.add_all(*BEATEN, *verdict_of((0.4, 0.5), (0.6, 0.7))), settings())


NONE_BEAT = NoVerdict("No child beat the start.", start_won=True)
LACKING = NoVerdict("Not asked for (final.seeds = 0).")


def test_a_search_whose_start_won_counts_as_no_gain_and_one_without_a_verdict_counts_for_nothing(compared):
    found = SeedsSummary([compared, NONE_BEAT, LACKING, LACKING], first=5)
    assert found.gains == [pytest.approx(0.1), 0.0]
    table, *lines = found.parts()
    interval = "95 % interval -0.585 … +0.685"
    assert lines == [
        "Seed 7, 8: Not asked for (final.seeds = 0).",
        f"Whether the searches find better architectures cannot be told: +0.050 ({interval}, 2 of 4 searches).",
    ]
    columns = [list(column.cells) for column in table.columns]
    assert columns[0] == ["5", "6", "7", "8"]
    assert columns[1][1:] == ["none beat the start", "no verdict", "no verdict"]
    assert columns[4] == ["+0.100", "+0.000", "–", "–"]


def test_trainings_that_never_vary_say_nothing_of_chance_though_winners_differ():
    """As where one hidden training of each code is read off a table, four times in each verdict."""

    def verdict(epochs, start, winner):
        column = Column("from scratch", epochs, (start,) * 4, (winner,) * 4, paired=False)
        return Verdict(None, None, (column,), None)

    for ages in ((4, 4, 4), (4, 8, 4)):  # of other ages the start scores otherwise, and that is no chance either
        found = [verdict(age, 0.2 + age / 100, winner) for age, winner in zip(ages, (0.33, 0.35, 0.34), strict=True)]
        summary = SeedsSummary(found)
        assert summary.gain.count == 3
        assert not summary.gain.is_known
        assert "what never varies says nothing of chance" in summary._mean()
    varying = replace(found[0], columns=(replace(found[0].columns[0], start=(0.2, 0.21, 0.22, 0.2)),))
    assert SeedsSummary([varying, *found[1:]]).gain.is_known


def test_without_any_verdict_there_is_no_mean_gain():
    found = SeedsSummary([LACKING, LACKING])
    assert found.gains == []
    *_, last = found.parts()
    assert last == "The gain is unknown: none of the 2 searches has a verdict on test images."
    assert "0.000" not in shown(*found.parts())


def test_one_search_says_nothing_of_another(compared):
    for outcomes in ([compared], [compared, LACKING]):
        *_, last = SeedsSummary(outcomes).parts()
        assert last == "The gain is +0.100 in one search: what another search would find cannot be said."
    *_, last = SeedsSummary([compared, compared, LACKING]).parts()
    assert last == "The gain is +0.100 in 2 of 3 searches alike: what never varies says nothing of chance."
    for outcomes, which in (([NONE_BEAT], "the one search"), ([NONE_BEAT] * 3, "all 3 searches")):
        *_, last = SeedsSummary(outcomes).parts()
        assert last == f"In {which} no child beat the start."
    column = replace(compared.columns[0], winner=tuple(score + 0.001 for score in compared.columns[0].winner))
    *_, last = SeedsSummary([compared, replace(compared, columns=(column,))]).parts()
    assert last.startswith("The searches find better architectures: +0.10")
