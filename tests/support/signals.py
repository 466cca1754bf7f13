"""Plans of signal studies of a few codes, and results made up for them."""

from spnas_core import Architecture
from spnas_core.morphisms import Expand, Swap
from spnas_core.tasks import MetricSpec
from spnas_search.studies import SignalSettings, Training, plan_signal

START = Architecture.parse("b@8_11-21-21-21")
SCORE, LOSS = MetricSpec("score"), MetricSpec("loss", higher_is_better=False)


def way(*steps: int) -> tuple:
    """Expansions and swaps by their number among the options; the same beginning gives the same links."""
    code, path = START, []
    for number in steps:
        options = [*Expand().options(code), *Swap().options(code)]
        path.append(options[number])
        code = options[number].child
    return tuple(path)


FOUR = ((), way(0), way(0, 3, 5), way(10, 2))


def planned(paths=FOUR, warm_epochs: int = 6, **values):
    given = {"codes": len(paths), "trainings": 2, "epochs": 8, "child_epochs": (1, 3), **values}
    return plan_signal(START, paths, SignalSettings(**given), warm_epochs=warm_epochs)


EIGHT = tuple(way(number) if number else () for number in (0, 1, 3, 5, 7, 8, 9, 10))


def trained(plan, score) -> dict:
    """Made-up results: ``score(arm, code number, repetition)``, None for a failure."""
    found = {}
    for arm, keys in plan.scored.items():
        for code, by_code in enumerate(keys):
            for key in by_code:
                value = score(arm, code, key.repetition)
                lost = {"reason": "the loss is NaN"} if value is None else {"metrics": {"score": value, "loss": -value}}
                found[key] = Training(key, "", 0, 1, 1.0, arm.epochs, cost={"multiply_adds": 1e6}, **lost)
    return found
