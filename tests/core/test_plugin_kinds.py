"""What a plugin registers must be of its hook's kind: anything else is left out in one line, and the rest works."""

from types import SimpleNamespace

import pytest

from spnas_core.plugins import broken_plugins, registry
from spnas_core.plugins.kinds import KINDS, item_mistake
from spnas_core.plugins.registries import nouns

REGISTERS = """
    from spnas_core import hookimpl
    from spnas_core.blocks import ResidualSpec

    good = ResidualSpec("good", "", 2, bottleneck=True)

    @hookimpl
    def spnas_register_{noun}(register):
        register({name!r}, {item})

    @hookimpl
    def spnas_register_stems(register):
        from spnas_core.stems.convolutional import CONV7

        register("mine", CONV7)
"""


class Slots:
    """An item whose attributes are dynamic, and one of them raises."""

    def __getattr__(self, name):
        if name == "export":
            raise OSError("no such exporter")
        return name


def test_every_noun_has_its_kinds_and_what_is_built_in_is_of_them():
    assert set(KINDS) == set(nouns())
    for noun in nouns():
        for name, item in registry(noun).items.items():
            assert item_mistake(noun, name, item) is None


@pytest.mark.parametrize("noun", sorted(KINDS))
@pytest.mark.parametrize("item", [None, 3, "text", object(), {}, SimpleNamespace()])
def test_what_is_of_no_kind_is_a_mistake_among_all_nouns(noun, item):
    mistake = item_mistake(noun, "mine", item)
    assert mistake.startswith(f"registers 'mine' among the {noun}, which must be a ")


@pytest.mark.parametrize(
    ("noun", "item", "mistake"),
    [
        ("blocks", "type(good)", "is the class ResidualSpec: register an instance"),
        ("blocks", "None", "which must be a BlockSpec or BlockFamily, and is None"),
        ("morphisms", "object()", "and is object without name, summary, options"),
        ("metrics", "print", "is builtin_function_or_method without summary, specs, build, check"),
        ("datasets", "'folder'", "which must be a Reader, and is str: it cannot be called"),
        ("commands", "print", "which must be a click.Command, and is builtin_function_or_method without name"),
    ],
)
def test_an_item_of_another_kind_is_left_out_and_the_rest_of_the_plugin_works(install, noun, item, mistake):
    install("odd", REGISTERS.format(noun=noun, name="mine", item=item))
    assert "mine" not in registry(noun).items
    assert registry("stems").plugins["mine"] == "odd"
    (broken,) = broken_plugins()
    assert broken.name == "odd"
    assert broken.reason.startswith(f"PluginError: plugin 'odd' registers 'mine' among the {noun}, which must be a ")
    assert mistake in broken.reason


@pytest.mark.parametrize("name", [3, None, "", " ", ("a",)])
def test_a_name_is_a_text(install, name):
    install("odd", REGISTERS.format(noun="blocks", name=name, item="good"))
    assert name not in registry("blocks").items
    assert broken_plugins()[0].reason.endswith(f"registers {name!r} among the blocks: a name must be a text")


def test_an_item_that_cannot_be_hashed_is_no_morphism():
    class Unhashable:
        name, summary = "mine", ""
        __hash__ = None

        def options(self, architecture):
            return ()

    assert item_mistake("morphisms", "mine", Unhashable()).endswith("is Unhashable without __hash__")


def test_attributes_may_be_dynamic_and_may_not_raise():
    assert item_mistake("screens", "mine", Slots()) is None
    assert item_mistake("exporters", "mine", Slots()).endswith("is Slots without export")


def test_a_class_serves_where_items_are_called():
    assert item_mistake("detectors", "mine", Slots) is None
    assert item_mistake("necks", "mine", Slots) is None


@pytest.mark.parametrize("where", ["", "    @hookimpl\n    def spnas_register_blocks(register):\n        "])
def test_a_plugin_that_ends_the_process_is_reported_and_ends_nothing(install, where):
    install("rude", f"\n    from spnas_core import hookimpl\n\n{where or '    '}raise SystemExit(3)\n")
    assert "b" in registry("blocks").items
    assert [(plugin.name, plugin.reason) for plugin in broken_plugins()] == [("rude", "SystemExit: 3")]
