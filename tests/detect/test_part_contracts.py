"""The contract suites of necks, detectors and metrics over everything built in; and that they see what is wrong."""

import pytest
import torch

from spnas_core.plugins import registry
from spnas_core.tasks import MetricSpec
from spnas_core.testing import NoSuiteError
from spnas_core.testing.checking import check_item
from spnas_detect.detectors import FasterRCNN, RetinaNet
from spnas_detect.metrics import CocoMetric, MetricFactory
from spnas_detect.necks import FPN
from spnas_detect.testing import MetricContract
from spnas_detect.testing.suites import detector_suite, metric_suite, neck_suite

SUITES = {"necks": neck_suite, "detectors": detector_suite, "metrics": metric_suite}


@pytest.mark.parametrize(
    ("noun", "name"), [(noun, name) for noun in SUITES for name in registry(noun).items if name != "lamr"]
)
def test_what_is_built_in_keeps_its_contract(noun, name):
    checked = check_item(noun, name, registry(noun).items[name], SUITES[noun])
    assert (checked.broken, checked.untested) == ((), "")
    assert checked.kept > 5


class TestLamr(MetricContract):
    """It scores people of street scenes."""

    factory = registry("metrics").items["lamr"]
    classes = ("pedestrian", "rider")
    tags = ()


def test_a_metric_of_classes_of_its_own_is_not_tried_on_others():
    with pytest.raises(NoSuiteError, match="the metric 'lamr' refuses the classes cat, dog"):
        metric_suite("lamr", registry("metrics").items["lamr"])


def broken(noun, item):
    """Names of the tests that an item fails."""
    return {part.test.removeprefix("test_") for part in check_item(noun, "odd", item, SUITES[noun]).broken}


class SwappedLevels(FPN):
    """Gives the levels in the other order."""

    def forward(self, features):
        return dict(reversed(super().forward(features).items()))


class Overwriting(FPN):
    """Leaves its levels where the features were."""

    def forward(self, features):
        levels = super().forward(features)
        features.update(levels)
        return levels


class Untrained(FPN):
    """Has a parameter that it never uses."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.spare = torch.nn.Parameter(torch.zeros(3))

    def initial(self, name):
        return super().initial("bias" if name == "spare" else name)

    def source_names(self, name, levels):
        return [name] if name == "spare" else super().source_names(name, levels)


class Silent(FPN):
    """Starts with nothing but zeros."""

    def initial(self, name):
        return super().initial("bias")


class Forgetful(FPN):
    """Inherits everything from the first level."""

    def source_names(self, name, levels):
        kind, _, rest = name.split(".", 2)
        return [f"{kind}.0.{rest}"]


class Wrong(FPN):
    """Says that each lateral reads the level after its own."""

    def reads(self, name):
        level = super().reads(name)
        return None if level is None else level + 1


@pytest.mark.parametrize(
    ("neck", "expected"),
    [
        (SwappedLevels, {"levels_have_the_features_names_and_sizes", "it_is_made_and_run_without_values"}),
        (Overwriting, {"the_features_stay_as_they_are", "levels_have_the_features_names_and_sizes"}),
        (Untrained, {"every_parameter_learns"}),
        (Silent, {"first_values_are_said_of_every_tensor"}),
        (Forgetful, {"a_child_inherits_from_tensors_that_there_are"}),
        (Wrong, {"what_reads_the_backbone_is_said"}),
    ],
)
def test_the_suite_sees_what_is_wrong_with_a_neck(neck, expected):
    assert broken("necks", neck) in (expected, expected - {"levels_have_the_features_names_and_sizes"})


class Drawing(FasterRCNN):
    """Draws from torch's own generator."""

    def losses(self, images, targets, *, generator=None):
        return super().losses(images, targets, generator=None)


class Summing(RetinaNet):
    """Sums over the rows of padding, too."""

    def losses(self, images, targets, *, generator=None):
        found = super().losses(images, targets)
        return {**found, "rows": found["bbox_regression"] * 0 + float(targets.labels.shape[1])}


class Detached(RetinaNet):
    """Learns no boxes."""

    def losses(self, images, targets, *, generator=None):
        found = super().losses(images, targets)
        return {name: loss.detach() if "box" in name else loss for name, loss in found.items()}


class Outside(RetinaNet):
    """Detects beyond its images."""

    def detect(self, images, sizes=None):
        found = super().detect(images, sizes)
        return found._replace(boxes=found.boxes * 2)


class Backwards(RetinaNet):
    """Has the worst in front."""

    def detect(self, images, sizes=None):
        found = super().detect(images, sizes)
        return found._replace(scores=found.scores.flip(1))


class ByBatch(RetinaNet):
    """Scores by what else is in the batch."""

    def detect(self, images, sizes=None):
        found = super().detect(images, sizes)
        return found._replace(scores=found.scores / len(images))


@pytest.mark.parametrize(
    ("detector", "expected"),
    [
        (Drawing, "the_generator_decides_the_losses"),
        (Summing, "padding_of_targets_changes_no_loss"),
        (Detached, "every_parameter_learns_and_losses_fall"),
        (Outside, "detections_lie_in_their_images_the_best_first"),
        (Backwards, "detections_lie_in_their_images_the_best_first"),
        (ByBatch, "detections_are_a_function_of_the_image"),
    ],
)
def test_the_suite_sees_what_is_wrong_with_a_detector(detector, expected):
    assert expected in broken("detectors", detector)


class Last(CocoMetric):
    """Knows the last batch alone."""

    def process(self, predictions, targets):
        self.reset()
        super().process(predictions, targets)


class Endless(CocoMetric):
    """Forgets nothing."""

    has_begun = False

    def reset(self):
        if not self.has_begun:
            super().reset()
        self.has_begun = True


class Counting(CocoMetric):
    """Counts ignored boxes as any other."""

    def process(self, predictions, targets):
        super().process(predictions, [{**target, "ignore": target["ignore"] & False} for target in targets])


class Changing(CocoMetric):
    """Rounds the boxes that it is given."""

    def process(self, predictions, targets):
        super().process(predictions, targets)
        for prediction in predictions:
            prediction["boxes"].round_()


class Lenient(CocoMetric):
    """Leaves out what is damaged, and takes the rest."""

    def process(self, predictions, targets):
        for prediction, target in zip(predictions, targets, strict=True):
            try:
                super().process([prediction], [target])
            except ValueError:
                continue


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        (Last, "batches_do_not_matter"),
        (Endless, "a_reset_forgets_all_images"),
        (Counting, "neither_a_hit_nor_a_miss_of_an_ignored_box_counts"),
        (Changing, "images_stay_as_they_are"),
        (Lenient, "a_damaged_batch_is_refused_whole"),
    ],
)
def test_the_suite_sees_what_is_wrong_with_a_metric(metric, expected):
    assert expected in broken("metrics", MetricFactory("", (MetricSpec("AP"),), metric))


@pytest.mark.parametrize(
    ("specs", "expected"),
    [
        ((MetricSpec("mAP"),), "it_gives_the_numbers_that_it_promises"),
        ((MetricSpec("AP", higher_is_better=False),), "what_is_right_scores_better_than_what_is_wrong"),
    ],
)
def test_a_spec_says_what_there_is_and_which_way_is_up(specs, expected):
    assert expected in broken("metrics", MetricFactory("", specs, CocoMetric))
