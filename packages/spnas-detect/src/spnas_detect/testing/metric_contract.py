"""What every metric must keep, as a suite to run over one's own.

With pytest, subclass it in a test file:

    from spnas_core.tasks import MetricSpec
    from spnas_detect.metrics import MetricFactory
    from spnas_detect.testing import MetricContract

    class TestMine(MetricContract):
        factory = MetricFactory("what it measures", (MetricSpec("mine"),), Mine)
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, SupportsFloat

import torch
from torch import Tensor

from spnas_detect.metrics import Metric, MetricFactory

SIDE, IMAGES = 100, 6

_Image = dict[str, Any]


class MetricContract:
    """A metric is a function of all images since its last reset, best where the detections are the truth.

    Attributes:
        factory: that is tested.
        classes: two that the metric can score.
        tags: of every box, where the metric needs some.
    """

    factory: MetricFactory
    classes: tuple[str, str] = ("cat", "dog")
    tags: tuple[str, ...] | None = None

    def test_it_gives_the_numbers_that_it_promises(self) -> None:
        """Finite or NaN, under names."""
        scores: dict[Any, Any] = dict(self._scores(*self._perfect()))
        assert self.factory.specs, "it promises no number"
        for name, value in scores.items():
            assert isinstance(name, str)
            assert isinstance(value, SupportsFloat), f"{name} is {value!r}"
            assert not math.isinf(float(value)), f"{name} is {value}"
        for spec in self.factory.specs:
            assert spec.name in scores

    def test_what_is_right_scores_better_than_what_is_wrong(self) -> None:
        """In the direction that a spec says: the truth itself, nothing at all, and boxes elsewhere."""
        predictions, targets = self._perfect()
        best = self._scores(predictions, targets)
        for what, others in (("no detections", _none(predictions)), ("boxes elsewhere", _moved(predictions))):
            worse = self._scores(others, targets)
            for spec in self.factory.specs:
                ahead, behind = (one[spec.name] * (1 if spec.higher_is_better else -1) for one in (best, worse))
                if math.isfinite(ahead) and math.isfinite(behind):
                    found = f"{best[spec.name]} of the truth, {worse[spec.name]} of {what}"
                    assert ahead > behind, f"{spec.name} is {found}"
        assert any(math.isfinite(best[spec.name]) for spec in self.factory.specs), "nothing is defined of the truth"

    def test_batches_do_not_matter(self) -> None:
        """All images at once, one by one, or with an empty batch in between."""
        predictions, targets = self._mixed()
        whole = self._scores(predictions, targets)
        metric = self._make()
        for prediction, target in zip(predictions, targets, strict=True):
            metric.process([prediction], [target])
            metric.process([], [])
        assert _same(metric.evaluate(), whole), f"{metric.evaluate()} one by one, {whole} at once"

    def test_a_reset_forgets_all_images(self) -> None:
        """And evaluating twice says the same twice."""
        metric, mixed, perfect = self._make(), self._mixed(), self._perfect()
        metric.process(*mixed)
        assert _same(metric.evaluate(), metric.evaluate())
        metric.reset()
        metric.process(*perfect)
        assert _same(metric.evaluate(), self._scores(*perfect))

    def test_without_images_nothing_is_defined_or_nothing_fails(self) -> None:
        """The promised names are there all the same."""
        scores = self._make().evaluate()
        assert all(spec.name in scores for spec in self.factory.specs), f"of no images it gives {scores}"

    def test_images_stay_as_they_are(self) -> None:
        """Other metrics read them, too."""
        predictions, targets = self._mixed()
        before = [_copied(one) for one in (*predictions, *targets)]
        self._scores(predictions, targets)
        for one, same in zip((*predictions, *targets), before, strict=True):
            assert all(_equal(one[key], same[key]) for key in same)

    def test_neither_a_hit_nor_a_miss_of_an_ignored_box_counts(self) -> None:
        """With a detection on it or without, the scores are those without the box."""
        predictions, targets = self._mixed()
        plain = self._scores(predictions, targets)
        region = torch.tensor([[SIDE + 20.0, SIDE + 20.0, SIDE + 60.0, SIDE + 60.0]])
        ignoring = [{**_with(target, region, 1, self.tags), "ignore": _flags(target)} for target in targets]
        assert _same(self._scores(predictions, ignoring), plain), "an ignored box that is missed counts"
        hitting = [_with(prediction, region, 1, None, score=0.01) for prediction in predictions]
        assert _same(self._scores(hitting, ignoring), plain), "a hit of an ignored box counts"

    def test_a_damaged_batch_is_refused_whole(self) -> None:
        """By a ValueError, and nothing of it is taken in."""
        predictions, targets = self._mixed()
        plain = self._scores(predictions, targets)
        short = {**predictions[1], "scores": predictions[1]["scores"][:-1]}
        beyond = {**predictions[1], "labels": predictions[1]["labels"] + len(self.classes)}
        undefined = {**predictions[1], "scores": predictions[1]["scores"] * math.nan}
        for what, damaged in (("scores", short), ("labels", beyond), ("a score that is NaN", undefined)):
            metric = self._make()
            metric.process(predictions, targets)
            try:
                metric.process([predictions[0], damaged], targets[:2])
            except ValueError:
                assert _same(metric.evaluate(), plain), f"a part of a batch with damaged {what} was taken in"
            else:
                raise AssertionError(f"a batch with damaged {what} was taken in")

    def _make(self) -> Metric:
        metric = self.factory.build(self.classes)
        metric.reset()
        return metric

    def _scores(self, predictions: Sequence[_Image], targets: Sequence[_Image]) -> dict[str, float]:
        metric = self._make()
        metric.process(predictions, targets)
        return metric.evaluate()

    def _perfect(self) -> tuple[list[_Image], list[_Image]]:
        """Detections that are the truth, in images of two to four boxes."""
        generator, predictions, targets = torch.Generator().manual_seed(0), [], []
        for image in range(IMAGES):
            count = 2 + image % 3
            corners = torch.rand(count, 2, generator=generator) * 40 + torch.arange(count)[:, None] * 10
            boxes = torch.cat([corners, corners + 15 + 15 * torch.rand(count, 2, generator=generator)], 1)
            labels = torch.randint(1, len(self.classes) + 1, (count,), generator=generator)
            labels[:2] = torch.tensor([1, 2])
            scores = torch.rand(count, generator=generator).sort(descending=True).values * 0.5 + 0.5
            predictions.append({"boxes": boxes, "scores": scores, "labels": labels})
            ignore = torch.zeros(count, dtype=torch.bool)
            tags = [] if self.tags is None else [self.tags] * count
            size = torch.tensor([3 * SIDE, 3 * SIDE])
            targets.append(
                {"boxes": boxes.clone(), "labels": labels.clone(), "ignore": ignore, "size": size, "tags": tags}
            )
        return predictions, targets

    def _mixed(self) -> tuple[list[_Image], list[_Image]]:
        """Some boxes found, some a little beside, some missed."""
        predictions, targets = self._perfect()
        for image, prediction in enumerate(predictions):
            prediction["boxes"] = prediction["boxes"] + torch.tensor([0.0, 1.0, 3.0, 9.0])[image % 4]
            if image % 2:
                predictions[image] = {key: value[1:] for key, value in prediction.items()}
        return predictions, targets


def _none(predictions: Sequence[_Image]) -> list[_Image]:
    return [{key: value[:0] for key, value in one.items()} for one in predictions]


def _moved(predictions: Sequence[_Image]) -> list[_Image]:
    return [{**one, "boxes": one["boxes"] + 1.5 * SIDE} for one in predictions]


def _with(image: _Image, box: Tensor, label: int, tags: tuple[str, ...] | None, score: float | None = None) -> _Image:
    """Add a box to a prediction or a target."""
    added = {**image, "boxes": torch.cat([image["boxes"], box])}
    added["labels"] = torch.cat([image["labels"], torch.tensor([label])])
    if score is not None:
        added["scores"] = torch.cat([image["scores"], torch.tensor([score])])
    elif tags is not None:
        added["tags"] = [*image["tags"], tags]
    return added


def _flags(target: _Image) -> Tensor:
    return torch.cat([target["ignore"], torch.tensor([True])])


def _same(one: Mapping[str, float], other: Mapping[str, float]) -> bool:
    pairs = [(one[name], other[name]) for name in one if name in other]
    return one.keys() == other.keys() and all(
        (math.isnan(a) and math.isnan(b)) or math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-12) for a, b in pairs
    )


def _copied(image: _Image) -> _Image:
    return {key: value.clone() if isinstance(value, Tensor) else value for key, value in image.items()}


def _equal(one: object, other: object) -> bool:
    return torch.equal(one, other) if isinstance(one, Tensor) and isinstance(other, Tensor) else one == other
