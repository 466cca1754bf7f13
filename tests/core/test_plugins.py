"""Third-party plugins, installed as far as importlib can tell: a module and a dist-info folder on the path."""

import inspect

import pytest
import torch

from spnas_core import Architecture, backbone_cost, build_backbone, hookspecs, materialise
from spnas_core.blocks import block_specs
from spnas_core.errors import CodeError, PluginError
from spnas_core.morphisms import Expand
from spnas_core.plugins import broken_plugins, plugin_manager, plugin_origins, registry, reset_plugins
from spnas_core.plugins.manager import BUILT_IN, DISABLE_VARIABLE
from spnas_core.plugins.registries import nouns

HOOKS = {name: hook for name, hook in vars(hookspecs).items() if name.startswith("spnas_")}

WIDE_BLOCK = """
    from spnas_core import hookimpl
    from spnas_core.blocks import ResidualSpec

    @hookimpl
    def spnas_register_blocks(register):
        register("wide", ResidualSpec("wide", "a bottleneck of expansion 2", 2, bottleneck=True, aliases=("broad",)))
"""

PLAIN_BLOCK = """
    from collections import OrderedDict

    from torch import nn

    from spnas_core import hookimpl
    from spnas_core.blocks import ConvLayer
    from spnas_core.blocks.layers import Convolution, Norm

    class Plain(nn.Module):
        def __init__(self, layers):
            super().__init__()
            first, *projection = layers
            self.conv1 = self.make(first)
            self.bn1 = Norm(first.out_channels)
            self.projection = nn.Identity()
            for layer in projection:
                norm = Norm(layer.out_channels)
                self.projection = nn.Sequential(OrderedDict(conv=self.make(layer), bn=norm))

        @staticmethod
        def make(layer):
            shape = layer.in_channels, layer.out_channels, layer.kernel, layer.stride, layer.padding
            return Convolution(*shape, bias=False)

        def forward(self, x):
            return (self.bn1(self.conv1(x)) + self.projection(x)).relu()

    class PlainSpec:
        name, aliases, summary, silent_norm = "plain", (), "one convolution", "bn1"

        def check(self, base):
            pass

        def out_channels(self, planes):
            return planes

        def layers(self, in_channels, planes, stride):
            branch = ConvLayer("conv1", in_channels, planes, 5, stride)
            if stride == 1 and in_channels == planes:
                return (branch,)
            return (branch, ConvLayer("projection", in_channels, planes, 1, stride))

        def build(self, in_channels, planes, stride):
            return Plain(self.layers(in_channels, planes, stride))

    @hookimpl
    def spnas_register_blocks(register):
        register("plain", PlainSpec())
"""

UNKNOWN_HOOK = """
    from spnas_core import hookimpl

    @hookimpl
    def spnas_register_blocs(register):
        pass
"""

RAISES = """
    from spnas_core import hookimpl

    @hookimpl
    def spnas_register_blocks(register):
        raise KeyError("no licence")
"""


def broken() -> dict[str, tuple[str, str]]:
    return {plugin.name: (plugin.distribution, plugin.reason) for plugin in broken_plugins()}


def test_a_plugins_block_type_is_parsed_and_built(install):
    install("wide", WIDE_BLOCK)
    architecture = Architecture.parse("broad@8+deep_11-2")
    assert str(architecture) == "wide@8+deep_11-2"
    backbone = build_backbone(architecture)
    assert backbone.feature_info.channels() == [16, 32]
    assert backbone_cost(architecture, 32, 32).parameters == sum(p.numel() for p in backbone.parameters())
    assert plugin_origins()["wide"] == "spnas-wide"
    assert registry("blocks").plugins["wide"] == "wide"
    assert broken() == {}


@torch.no_grad()
def test_a_block_type_with_a_module_of_its_own_inherits_like_the_built_in_ones(install):
    install("plain", PLAIN_BLOCK)
    parent = build_backbone("plain@4_11-2").eval()
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    before = parent(images)
    for rewrite in Expand().options(parent.architecture):
        child, receipt = materialise(rewrite, parent.state_dict())
        after = child.eval()(images)
        assert all((after[level] - before[level]).abs().max() <= 1e-5 for level in before)
        assert receipt.copied + receipt.new == backbone_cost(rewrite.child, 32, 32).parameters


def test_a_code_of_an_uninstalled_plugin_is_refused(install):
    install("wide", WIDE_BLOCK)
    Architecture.parse("wide_1-1")
    plugin_manager().unregister(name="wide")
    registry.cache_clear()
    with pytest.raises(CodeError, match="no block type is called 'wide'"):
        Architecture.parse("wide_1-1")


def test_two_plugins_that_register_one_name_are_both_named(install):
    install("wide", WIDE_BLOCK)
    install("broad", WIDE_BLOCK)
    assert registry("blocks").plugins["wide"] == "broad"
    distribution, reason = broken()["wide"]
    assert distribution == "spnas-wide"
    clash = "plugins 'broad' and 'wide' both register 'wide' among the blocks: uninstall one, or rename"
    assert reason == f"PluginError: {clash}"


def test_a_plugin_that_takes_a_built_in_name_is_named_beside_the_built_in_and_the_rest_of_it_works(install):
    greedy = WIDE_BLOCK.replace('"wide"', '"r"') + '        register("w", ResidualSpec("w", "", 2, bottleneck=True))\n'
    install("greedy", greedy)
    assert str(Architecture.parse("w@8_1-1")) == "w@8_1-1"
    assert registry("blocks").plugins["r"] == "core"
    assert broken()["greedy"][1].startswith("PluginError: plugins 'core' and 'greedy' both register 'r'")


def test_a_second_plugin_of_a_taken_name_is_left_out(install):
    install("wide", WIDE_BLOCK)
    install("wide", PLAIN_BLOCK, distribution="zz-late")
    install("core", PLAIN_BLOCK, distribution="aa-early")
    assert "wide" in block_specs()
    assert "plain" not in block_specs()
    assert plugin_origins()["core"] == "spnas-core"
    reasons = {plugin.distribution: plugin.reason for plugin in broken_plugins()}
    assert "one of spnas-wide and one of zz-late" in reasons["zz-late"]
    assert "one of spnas-core and one of aa-early" in reasons["aa-early"]


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("import a_module_that_is_not_there\n", "ModuleNotFoundError: No module named 'a_module_that_is_not_there'"),
        ("this is no python\n", "SyntaxError: "),
        (UNKNOWN_HOOK, "PluginValidationError: unknown hook 'spnas_register_blocs'"),
        (RAISES, "KeyError: 'no licence'"),
    ],
    ids=["import fails", "syntax error", "unknown hook", "raises while registering"],
)
@pytest.mark.parametrize("neighbour", ["aa-first", "zz-last"])
def test_a_broken_plugin_is_reported_and_takes_no_other_down(install, source, reason, neighbour):
    install(neighbour, WIDE_BLOCK)
    install("half", source)
    assert build_backbone("wide@8_1-1").feature_info.channels() == [16, 16]
    assert build_backbone("b@4_1-1").feature_info.channels() == [4, 4]
    assert list(broken()) == ["half"]
    distribution, found = broken()["half"]
    assert distribution == "spnas-half"
    assert found.startswith(reason)


def test_all_broken_plugins_are_reported_together(install):
    install("gone", "import a_module_that_is_not_there\n")
    install("typo", UNKNOWN_HOOK)
    install("rude", RAISES)
    registry("blocks")
    assert broken().keys() == {"gone", "typo", "rude"}


def test_a_plugin_with_wrong_arguments_of_one_hook_takes_no_other_down(install):
    wrong = RAISES + "\n    @hookimpl\n    def spnas_register_tasks(registre):\n        pass\n"
    install("wrong", wrong)
    assert "b" in registry("blocks").items
    assert broken().keys() == {"wrong"}


@pytest.mark.parametrize("value", ["1", "true", "yes"])
def test_the_variable_leaves_only_built_in_plugins(install, monkeypatch, value):
    install("wide", WIDE_BLOCK)
    install("gone", "import a_module_that_is_not_there\n")
    monkeypatch.setenv(DISABLE_VARIABLE, value)
    reset_plugins()
    assert set(plugin_origins().values()) <= BUILT_IN
    assert {"core", "search"} <= plugin_origins().keys()
    assert broken() == {}
    with pytest.raises(CodeError, match="no block type is called 'wide'"):
        Architecture.parse("wide_1-1")


@pytest.mark.parametrize("value", ["", "0"])
def test_an_empty_or_zero_variable_disables_nothing(install, monkeypatch, value):
    install("wide", WIDE_BLOCK)
    monkeypatch.setenv(DISABLE_VARIABLE, value)
    reset_plugins()
    assert "wide" in block_specs()


def test_the_events_of_a_run_reach_a_plugin(install):
    install(
        "listener",
        """
        from spnas_core import hookimpl

        heard = []

        @hookimpl
        def spnas_candidate_finished(run, candidate):
            heard.append((run, candidate))
        """,
    )
    plugin_manager().hook.spnas_candidate_finished(run="run", candidate=3)
    assert plugin_manager().get_plugin("listener").heard == [("run", 3)]


@pytest.mark.parametrize("name", HOOKS)
def test_every_hook_is_documented(name):
    text = inspect.getdoc(HOOKS[name])
    assert text
    assert text.endswith(".")
    assert hasattr(plugin_manager().hook, name)


@pytest.mark.parametrize("noun", nouns())
def test_every_noun_has_a_registry(noun):
    found = registry(noun)
    assert found.noun == noun
    assert found.items.keys() == found.plugins.keys()
    assert registry(noun) is found
    with pytest.raises(PluginError, match=f"'nothing-of-that-kind' is not among the registered {noun}"):
        found.get("nothing-of-that-kind")


def test_nouns_are_the_ends_of_the_registering_hooks():
    assert {f"spnas_register_{noun}" for noun in nouns()} == {name for name in HOOKS if "_register_" in name}


def test_an_unknown_item_suggests_the_nearest():
    with pytest.raises(PluginError, match="'swp' is not among the registered morphisms; did you mean 'swap'"):
        registry("morphisms").get("swp")


BUILT_INS = {
    "blocks": ("core", {"b", "r", "x32x4d", "x32x8d", "x64x4d", "d", "m<e>k<k>[s]", "g<width>[s]"}),
    "stems": ("core", {"conv7", "deep"}),
    "morphisms": ("core", {"swap", "expand", "add-stage", "remove"}),
    "strategies": ("search", {"serial", "random"}),
    "executors": ("search", {"inline", "processes"}),
    "datasets": ("detect", {"shapes", "voc", "coco"}),
    "backbones": ("detect", {"timm", "torchvision", "proxylessnas", "detnas", "detnet", "fishnet"}),
    "necks": ("detect", {"fpn", "pafpn", "bifpn", "nas-fpn", "hrfpn", "merge", "dpc"}),
    "detectors": ("detect", {"faster-rcnn"}),
}


@pytest.mark.parametrize("noun", BUILT_INS)
def test_built_in_items_come_in_through_the_hooks(install, noun):
    plugin, names = BUILT_INS[noun]
    assert names <= registry(noun).items.keys()
    assert {registry(noun).plugins[name] for name in names} == {plugin}
    plugin_manager().unregister(name=plugin)
    registry.cache_clear()
    assert not names & registry(noun).items.keys()
