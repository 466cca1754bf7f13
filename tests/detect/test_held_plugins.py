"""Metrics, necks and detectors of plugins: what they raise or give wrongly is one line with their name."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from spnas_core import Architecture
from spnas_core.errors import ConfigError, DataError, PluginError
from spnas_core.morphisms import identity
from spnas_core.plugins import plugin_manager, registry, reset_plugins
from spnas_core.tasks import MetricSpec
from spnas_detect.data import pad_targets
from spnas_detect.detectors import Detections, DetectorSettings, FasterRCNN, build_detector
from spnas_detect.heads.results import known_detections, known_losses
from spnas_detect.metrics import metric_factory
from spnas_detect.necks import FPN

SMALL = {"neck_channels": 8, "head_channels": 16, "rpn_proposals": 20, "rpn_samples": 16, "box_samples": 12}


@pytest.fixture
def registered():
    """Register one item as a plugin of ours does: ``registered("metrics", item)``, under the name ``odd``."""

    def register(noun, item):
        hook = f"spnas_register_{noun}"
        from spnas_core import hookimpl

        def hooked(register):
            register("odd", item)

        plugin_manager().register(SimpleNamespace(**{hook: hookimpl(hooked)}), name="ours")
        registry.cache_clear()

    reset_plugins()
    yield register
    reset_plugins()


class Given:
    """A metric that gives what it was told to."""

    def __init__(self, scores):
        self.scores = scores

    def reset(self):
        pass

    def process(self, predictions, targets):
        if self.scores == "raises in process":
            raise IndexError("box 3")

    def evaluate(self):
        return self.scores


def factory(scores=None, **changes):
    own = {"summary": "", "specs": (MetricSpec("one"),), "build": lambda classes: Given(scores)}
    return SimpleNamespace(**{**own, "check": lambda data: None, **changes})


def evaluated(registered, scores):
    registered("metrics", factory(scores))
    metric = metric_factory("odd").build(["a"])
    metric.reset()
    metric.process([], [])
    return metric.evaluate()


class TestMetrics:
    @pytest.mark.parametrize("one", [0.5, 1, True, np.float32(0.5), torch.tensor(0.5), torch.ones(1), np.int64(1)])
    def test_numbers_of_any_library_are_scores(self, registered, one):
        found = evaluated(registered, {"one": one, "two": math.nan})
        assert type(found["one"]) is float
        assert found["one"] == float(one)
        assert math.isnan(found["two"])

    @pytest.mark.parametrize(
        ("scores", "message"),
        [
            (None, "evaluates to NoneType: it must be a dict of numbers by name"),
            ([0.5], "evaluates to list: it must be a dict"),
            ({}, "evaluates to scores without one, which its specs promise"),
            ({"two": 1}, "without one, which its specs promise"),
            ({"one": None}, "evaluates 'one' to None: scores are finite numbers by name, NaN where undefined"),
            ({"one": "0.5"}, "evaluates 'one' to '0.5'"),
            ({"one": math.inf}, "evaluates 'one' to inf"),
            ({"one": 1j}, "evaluates 'one' to 1j"),
            ({"one": torch.zeros(2)}, "evaluates 'one' to tensor"),
            ({"one": 0.5, 3: 0.5}, "evaluates 3 to 0.5"),
            ("raises in process", "raised IndexError: box 3 in process ("),
        ],
    )
    def test_what_is_no_scores_is_named(self, registered, scores, message):
        with pytest.raises(PluginError, match=r"^metric 'odd' of plugin 'ours'") as caught:
            evaluated(registered, scores)
        assert message in str(caught.value)

    @pytest.mark.parametrize("specs", [(), None, "one", ["one"], MetricSpec("one")])
    def test_specs_are_metric_specs(self, registered, specs):
        registered("metrics", factory(specs=specs))
        if specs is None:
            assert "odd" not in registry("metrics").items
        else:
            with pytest.raises(PluginError, match=r"^metric 'odd' of plugin .* must be MetricSpecs, one or more$"):
                metric_factory("odd")

    @pytest.mark.parametrize("made", [None, object(), SimpleNamespace(reset=print, process=print)])
    def test_what_is_built_is_a_metric(self, registered, made):
        registered("metrics", factory(build=lambda classes: made))
        with pytest.raises(PluginError, match=r"^metric 'odd' .* makes .* without .*evaluate$"):
            metric_factory("odd").build(["a"])

    def test_what_the_data_lacks_is_no_fault_of_the_plugin(self, registered):
        def check(data):
            raise {"flat": DataError("no heights"), "wide": ConfigError("choose coco")}.get(data, KeyError("which"))

        def build(classes):
            raise ConfigError("no riders")

        registered("metrics", factory(check=check, build=build))
        with pytest.raises(DataError, match=r"^no heights$"):
            metric_factory("odd").check("flat")
        with pytest.raises(ConfigError, match=r"^choose coco$"):
            metric_factory("odd").check("wide")
        with pytest.raises(ConfigError, match=r"^no riders$"):
            metric_factory("odd").build(["a"])
        with pytest.raises(PluginError, match=r"^metric 'odd' .* raised KeyError: 'which' in check"):
            metric_factory("odd").check("other")


def built(**settings):
    rewrite = identity(Architecture.parse("b@4_1-2-2"))
    chosen = DetectorSettings(**SMALL, **settings)
    return build_detector(rewrite, 3, chosen, {}, generator=torch.Generator().manual_seed(0))[0]


class Odd(FPN):
    """Gives what ``change`` makes of its levels."""

    change = staticmethod(lambda levels: levels)

    def forward(self, features):
        return type(self).change(super().forward(features))


def neck(change):
    return type("Odd", (Odd,), {"change": staticmethod(change)})


class TestNecks:
    def test_a_good_one_is_taken(self, registered):
        registered("necks", Odd)
        assert isinstance(built(neck="odd").neck, Odd)

    @pytest.mark.parametrize(
        ("item", "message"),
        [
            (neck(lambda levels: None), "gives NoneType: it must be a dict of Tensors, a level each"),
            (neck(lambda levels: list(levels.values())), "gives list: it must be a dict of Tensors"),
            (neck(lambda levels: dict.fromkeys(levels, 3)), "gives dict: it must be a dict of Tensors"),
            (neck(lambda levels: {}), "gives levels nothing: they must be "),
            (neck(lambda levels: {k: v[:, :4] for k, v in levels.items()}), "s1 [2, 4, 64, 64]"),
            (neck(lambda levels: {k: v[..., 1:] for k, v in levels.items()}), "s1 [2, 8, 64, 63]"),
            (neck(lambda levels: dict(reversed(levels.items()))), "in that order"),
            (neck(lambda levels: {k: v.half() for k, v in levels.items()}), "gives torch.float16 for torch.float32"),
            (neck(lambda levels: levels["none"]), "raised KeyError: 'none' in forward ("),
            (lambda *_: None, "makes NoneType: it must be an nn.Module"),
            (lambda *_: nn.Identity(), "makes Identity without out_channels, initial, source_names, reads"),
            (lambda features, channels, repeats: FPN(features, 5), "has out_channels = 5, and 8 were asked for"),
            (lambda: None, "raised TypeError: "),
        ],
    )
    def test_one_that_is_none_is_named(self, registered, item, message):
        registered("necks", item)
        with pytest.raises(PluginError, match=r"^neck 'odd' of plugin 'ours'") as caught:
            built(neck="odd")
        assert message in str(caught.value)

    def test_settings_that_it_refuses_are_the_users(self, registered):
        def refuses(features, channels, repeats):
            raise ConfigError("neck_channels must be odd")

        registered("necks", refuses)
        with pytest.raises(ConfigError, match=r"^neck_channels must be odd$"):
            built(neck="odd")


class Mine(FasterRCNN):
    """A detector of somebody's."""


class TestDetectors:
    def test_a_good_one_is_taken(self, registered):
        registered("detectors", Mine)
        assert isinstance(built(detector="odd"), Mine)

    @pytest.mark.parametrize(
        ("item", "message"),
        [
            (lambda *_: None, "makes NoneType: it must be an nn.Module"),
            (lambda *_: nn.Identity(), "makes Identity without backbone, neck, losses, detect, initial"),
            (
                lambda backbone, neck, classes, settings: Mine(nn.Sequential(backbone), neck, classes, settings),
                "raised AttributeError: ",
            ),
            (lambda backbone: None, "raised TypeError: "),
        ],
    )
    def test_one_that_is_none_is_named(self, registered, item, message):
        registered("detectors", item)
        with pytest.raises(PluginError, match=r"^detector 'odd' of plugin 'ours'") as caught:
            built(detector="odd")
        assert message in str(caught.value)

    def test_one_on_another_backbone_is_named(self, registered):
        def other(backbone, neck, classes, settings):
            made = Mine(backbone, neck, classes, settings)
            made.neck = nn.Identity()
            return made

        registered("detectors", other)
        with pytest.raises(PluginError, match="has another neck than it was given: keep that as its child 'neck'"):
            built(detector="odd")

    @pytest.mark.parametrize(
        ("losses", "message"),
        [
            (None, "gives losses NoneType: they must be a dict of Tensors"),
            (torch.zeros(()), "gives losses Tensor"),
            ({}, "gives losses dict"),
            ({"a": 0.5}, "gives the loss 'a' as float: it must be a Tensor of one number"),
            ({"a": torch.zeros(2)}, r"gives the loss 'a' as torch.float32\[2\]"),
            ({"a": torch.zeros((), dtype=torch.int64)}, r"gives the loss 'a' as torch.int64\[\]"),
            ({"a": torch.zeros(())}, "gives losses without gradients: nothing can be learnt from them"),
        ],
    )
    def test_losses(self, losses, message):
        with pytest.raises(PluginError, match=f"^detector Identity of torch.nn.modules.linear {message}"):
            known_losses(nn.Identity(), losses)

    def test_losses_without_gradients_are_some_where_nothing_is_learnt(self):
        with torch.no_grad():
            assert known_losses(nn.Identity(), {"a": torch.zeros(())}) == {"a": 0}

    @pytest.mark.parametrize(
        "change",
        [
            lambda found: None,
            tuple,
            lambda found: [{"boxes": found.boxes[0]}],
            lambda found: found._replace(boxes=None),
            lambda found: found._replace(boxes=found.boxes[0]),
            lambda found: found._replace(boxes=found.boxes[..., :3]),
            lambda found: found._replace(scores=found.scores[:, :-1]),
            lambda found: found._replace(counts=found.counts[:1]),
            lambda found: Detections(*(part[:1] for part in found)),
        ],
    )
    def test_detections(self, change):
        detector = built().eval()
        found = detector.detect(torch.zeros(2, 3, 64, 64))
        assert known_detections(detector, found, 2) is found
        with pytest.raises(PluginError, match=r"^detector FasterRCNN of spnas_detect\.detectors\.faster_rcnn detects "):
            known_detections(detector, change(found), 2)

    def test_our_own_give_what_they_must(self):
        for name in registry("detectors").items:
            detector = built(detector=name)
            images, boxes = torch.zeros(2, 3, 64, 64), {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0).long()}
            losses = detector.losses(images, pad_targets([boxes] * 2, [(64, 64)] * 2))
            assert known_losses(detector, losses) is losses
