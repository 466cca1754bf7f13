"""The suites of stems and exporters: what is built in keeps them, and what breaks them is seen."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from spnas_core.errors import ExportError
from spnas_core.exporting import ExporterPlugin
from spnas_core.exporting._base import exporter_plugin
from spnas_core.plugins import registry
from spnas_core.stems import CONV7, DEEP
from spnas_core.testing import ExporterContract, StemContract
from spnas_core.testing.checking import check_item


class TestConv7(StemContract):
    stem = CONV7


class TestDeep(StemContract):
    stem = DEEP


class TestProgram(ExporterContract):
    plugin = exporter_plugin("torch-export")


class TestSource(ExporterContract):
    plugin = exporter_plugin("source")


def broken(noun, name, item):
    return {one.test for one in check_item(noun, name, item, registry("contracts").get(noun)).broken}


class Bent:
    """A stem with one thing else than another has; whatever is asked is the other's."""

    def __init__(self, stem, **changes):
        self._stem, self._changes = stem, changes

    def __getattr__(self, name):
        return self._changes[name] if name in self._changes else getattr(self._stem, name)


def bent(name, change):
    """A module of DEEP's to which something is done."""

    def build(base):
        module = DEEP.build(base)
        change(module)
        return module

    return Bent(DEEP, name=name, build=build)


class Dead(nn.ReLU):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))


def test_a_stem_that_takes_large_bases_alone_is_tried_with_one(install):
    install(
        "narrow",
        """
        from spnas_core import hookimpl
        from spnas_core.blocks import ConvLayer
        from spnas_core.errors import CodeError
        from spnas_core.stems import ConvolutionalStem

        class Narrow(ConvolutionalStem):
            def check(self, base):
                if base < 20:
                    raise CodeError("the base must be at least 20")

            def layers(self, base):
                return (
                    ConvLayer("conv1", 3, base // 16, 3, stride=2), ConvLayer("conv2", base // 16, base, 3, stride=2)
                )

        @hookimpl
        def spnas_register_stems(register):
            register("narrow", Narrow("narrow", "few channels between", (3, 3), pools=False))
        """,
    )
    checked = check_item("stems", "narrow", registry("stems").get("narrow"), registry("contracts").get("stems"))
    assert (checked.kept, checked.broken) == (5, ())


@pytest.mark.parametrize(
    ("stem", "tests"),
    [
        (
            bent("pooled", lambda module: module.append(nn.MaxPool2d(2, ceil_mode=True))),
            {"test_images_come_out_at_a_quarter"},
        ),
        (
            bent("dead", lambda module: module.append(Dead())),
            {"test_the_module_is_what_the_layers_say", "test_it_learns"},
        ),
        (Bent(DEEP, name="poolless", pools=True), {"test_the_module_is_what_the_layers_say"}),
        (Bent(DEEP, name="unchecked", check=lambda base: None), {"test_a_base_is_refused_or_built"}),
        (
            Bent(DEEP, name="short", layers=lambda base: DEEP.layers(base)[:1]),
            {"test_a_base_is_refused_or_built", "test_the_module_is_what_the_layers_say"},
        ),
    ],
)
def test_a_stem_that_breaks_its_contract_is_seen(install, stem, tests):
    module = "from spnas_core import hookimpl\nHELD = []\n\n\n@hookimpl\ndef spnas_register_stems(register):\n"
    install("bent", module + "    for one in HELD:\n        register(one.name, one)\n")
    import fake_spnas_bent_bent as plugin

    from spnas_core.plugins import reset_plugins

    plugin.HELD.append(stem)
    reset_plugins()
    found = broken("stems", stem.name, stem)
    assert tests <= found
    assert "test_children_inherit_it" not in found


def pickled(network, folder, name):
    path = folder / f"{name}.pt"
    torch.save(network.module, path)
    network.check(torch.load(path, weights_only=False)(network.images), path.name)
    return (path,)


def into_a_folder(network, folder, name):
    path = folder / name
    path.mkdir(exist_ok=True)
    pickled(network, path, "weights")
    return (path,)


def one_image_alone(network, folder, name):
    if len(network.images) > 1:
        raise ExportError("one image at a time")
    return pickled(network, folder, name)


def no_backbone(network, folder, name):
    raise ExportError("for detectors alone")


def beside(network, folder, name):
    (folder / "readme.txt").write_text("more than it says")
    return pickled(network, folder, name)


def trained(network, folder, name):
    files = pickled(network, folder, name)
    network.module.train()
    return files


def of_one_name(network, folder, name):
    return pickled(network, folder, "network")


def unlooked_at(network, folder, name):
    return pickled(replace(network, compare=lambda *_: 0.0), folder, name)


@pytest.mark.parametrize(
    ("export", "tests"),
    [
        (pickled, set()),
        (into_a_folder, set()),
        (one_image_alone, set()),
        (lambda *given: list(pickled(*given)), {"test_it_writes_the_files_that_it_returns", "test_other_files_stay"}),
        (beside, {"test_it_writes_the_files_that_it_returns"}),
        (trained, {"test_the_network_stays_as_it_is"}),
        (of_one_name, {"test_other_files_stay"}),
        (unlooked_at, {"test_it_compares_what_it_has_written"}),
        (
            lambda *_: (Path("network.pt"),),
            {
                "test_it_writes_the_files_that_it_returns",
                "test_other_files_stay",
                "test_it_compares_what_it_has_written",
            },
        ),
    ],
)
def test_an_exporter_that_breaks_its_contract_is_seen(export, tests):
    found = broken("exporters", "odd", ExporterPlugin("odd", export))
    assert found == tests


def test_an_exporter_that_has_no_word_for_a_backbone_is_not_tried():
    plugin = ExporterPlugin("odd", no_backbone)
    checked = check_item("exporters", "odd", plugin, registry("contracts").get("exporters"))
    assert checked.untested.startswith("the exporter 'odd' refuses the backbone b@4_1-2: for detectors alone; ")
    assert not checked.broken
