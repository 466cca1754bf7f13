"""The contract suite of screens over everything built in; and that it sees what is wrong."""

import math

import numpy as np
import pytest

from spnas_core.plugins import registry
from spnas_core.testing import NoSuiteError
from spnas_core.testing.checking import check_item
from spnas_search.screens import ScreenPlugin, screen_plugin
from spnas_search.screens.prediction import PredictionScreen, PredictionScreenSettings
from spnas_search.testing.suites import screen_suite


@pytest.mark.parametrize("name", registry("screens").items)
def test_what_is_built_in_keeps_its_contract(name):
    checked = check_item("screens", name, screen_plugin(name), screen_suite)
    assert (checked.broken, checked.untested) == ((), "")
    assert checked.kept == 5


class Remembering(PredictionScreen):
    """Counts how often all of its kind were asked."""

    asked = 0

    def preferences(self, archive, proposals):
        Remembering.asked += 1
        return [float(Remembering.asked) for _ in proposals]


class Counting(PredictionScreen):
    """Counts how often it was asked itself: two new ones agree."""

    def preferences(self, archive, proposals):
        self.asked = getattr(self, "asked", 0) + 1
        return [float(self.asked) for _ in proposals]


class Places(PredictionScreen):
    """Prefers the first."""

    def preferences(self, archive, proposals):
        return [-float(place) for place, _ in enumerate(proposals)]


class Undefined(PredictionScreen):
    """Knows nothing before the second round."""

    def preferences(self, archive, proposals):
        return [0.0 if archive.children else math.nan for _ in proposals]


class Best(PredictionScreen):
    """Names the best alone."""

    def preferences(self, archive, proposals):
        return [1.0]


class Drawing(PredictionScreen):
    """Draws."""

    def preferences(self, archive, proposals):
        return list(np.random.default_rng().random(len(proposals)))


class Expecting(PredictionScreen):
    """Expects something of one child more."""

    def expectations(self, archive, proposals):
        return [0.0] * (len(proposals) + 1)


class Drawless(PredictionScreenSettings):
    """Draws no children."""

    draws: int = 0


@pytest.mark.parametrize(
    ("screen", "expected"),
    [
        (Remembering, {"preferences_follow_from_the_archive", "the_order_of_children_does_not_matter"}),
        (Counting, {"preferences_follow_from_the_archive"}),
        (Places, {"the_order_of_children_does_not_matter"}),
        (Undefined, {"every_child_has_a_number"}),
        (Best, {"every_child_has_a_number", "of_no_children_nothing_is_said"}),
        (Drawing, {"preferences_follow_from_the_archive", "the_order_of_children_does_not_matter"}),
        (Expecting, {"every_child_has_a_number", "of_no_children_nothing_is_said"}),
    ],
)
def test_the_suite_sees_what_is_wrong(screen, expected):
    checked = check_item("screens", "odd", ScreenPlugin("", PredictionScreenSettings, screen), screen_suite)
    found = {part.test.removeprefix("test_") for part in checked.broken}
    assert expected <= found


def test_the_suite_sees_that_nothing_is_drawn():
    suite = screen_suite("odd", ScreenPlugin("", Drawless, PredictionScreen))
    with pytest.raises(AssertionError):
        suite.test_it_says_how_many_children_are_drawn()


def test_a_screen_that_needs_settings_is_not_tried_without():
    class Needy(PredictionScreenSettings):
        file: str

    with pytest.raises(NoSuiteError, match=r"the screen 'odd' cannot do without settings: subclass .*ScreenContract"):
        screen_suite("odd", ScreenPlugin("", Needy, PredictionScreen))
