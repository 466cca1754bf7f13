"""Metrics of plugins held to their contract: one that raises, or gives what are no scores, is named in one line."""

import math
from collections.abc import Mapping, Sequence
from functools import partial
from numbers import Real

from torch import Tensor

from spnas_core.errors import ConfigError, DataError, PluginError
from spnas_core.plugins import asked, owner
from spnas_core.tasks import MetricSpec
from spnas_detect.metrics._base import Metric, MetricFactory, Values

_PARTS = ("reset", "process", "evaluate")
_USERS = (ConfigError, DataError)
"""What a metric may raise since the data lacks what it needs: that is no fault of the plugin's."""


def held_factory(name: str, factory: MetricFactory) -> MetricFactory:
    """Return a plugin's metric as one whose mistakes are named.

    Raises:
        PluginError: its ``specs`` are none.
    """
    who = owner("metrics", name)
    specs: object = factory.specs
    if not isinstance(specs, Sequence) or not specs or not all(isinstance(spec, MetricSpec) for spec in specs):
        raise PluginError(f"{who} has specs {specs!r}: they must be MetricSpecs, one or more")

    def check(data: object) -> None:
        asked(who, "check", partial(factory.check, data), passes=_USERS)  # type: ignore[arg-type]

    return MetricFactory(factory.summary, tuple(specs), partial(_build, who, factory), check)


def _build(who: str, factory: MetricFactory, classes: Sequence[str]) -> Metric:
    metric = asked(who, "build", lambda: factory.build(classes), passes=_USERS)
    lacking = [part for part in _PARTS if not callable(getattr(metric, part, None))]
    if lacking:
        raise PluginError(f"{who} makes {type(metric).__name__} without {', '.join(lacking)}")
    return _HeldMetric(who, metric, [spec.name for spec in factory.specs])


class _HeldMetric:
    """A metric of a plugin."""

    def __init__(self, who: str, metric: Metric, promised: Sequence[str]) -> None:
        self._who, self._metric, self._promised = who, metric, promised

    def reset(self) -> None:
        asked(self._who, "reset", self._metric.reset)

    def process(self, predictions: Sequence[Mapping[str, Values]], targets: Sequence[Mapping[str, Values]]) -> None:
        asked(self._who, "process", lambda: self._metric.process(predictions, targets))

    def evaluate(self) -> dict[str, float]:
        found = asked(self._who, "evaluate", self._metric.evaluate)
        if not isinstance(found, Mapping):
            raise PluginError(f"{self._who} evaluates to {type(found).__name__}: it must be a dict of numbers by name")
        scores = {name: self._number(name, value) for name, value in found.items()}
        lacking = [name for name in self._promised if name not in scores]
        if lacking:
            raise PluginError(f"{self._who} evaluates to scores without {', '.join(lacking)}, which its specs promise")
        return scores

    def _number(self, name: object, value: object) -> float:
        plain = value.item() if isinstance(value, Tensor) and value.numel() == 1 else value
        if not isinstance(name, str) or not isinstance(plain, Real) or math.isinf(plain):
            raise PluginError(
                f"{self._who} evaluates {name!r} to {plain!r}: scores are finite numbers by name, NaN where undefined"
            )
        return float(plain)
