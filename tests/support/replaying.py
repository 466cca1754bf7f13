"""A table of made-up trainings, and what is asked of it."""

import itertools

from spnas_core.encoding import Architecture
from spnas_core.morphisms import identity
from spnas_core.tasks import EvaluationRequest, Fidelity
from spnas_search.replay.table import write_table

DIGITS = ("1121", "11121", "11211")
CODES = [f"b@8_{digits[:at]}-{digits[at:]}" for digits in DIGITS for at in range(1, len(digits))]
"""Everything that swap and one expand make of the first, short ones before long ones."""


def rows(data="small", repetitions=3, epochs=(4,)):
    """Scores that grow with the code's number, differ between repetitions, and cost as much as the number says."""
    return [
        {
            "data": data,
            "code": code,
            "repetition": repetition,
            "epochs": age,
            "multiply_adds": 1000 + number,
            "parameters": 10,
            "activation_bytes": 5,
            "AP": round(0.1 * number + 0.01 * repetition + 0.001 * age, 4),
            "AP50": 0.5,
        }
        for (number, code), repetition, age in itertools.product(enumerate(CODES), range(repetitions), epochs)
    ]


def asked(task, code, *, seed=0, epochs=4, split="validation", parent=None):
    rewrite = identity(Architecture.parse(code))
    request = EvaluationRequest(0, rewrite, parent, None, Fidelity(epochs), seed, split=split)
    return task.evaluate(request, lambda progress: None)


def made_table(folder):
    """Write three trainings of each code on small objects, and two on large ones."""
    path = folder / "table.csv.gz"
    write_table(path, [*rows(), *rows("large", 2)], ["AP", "AP50"])
    return path
