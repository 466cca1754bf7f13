"""What a plugin registers must be of its hook's kind: anything else is left out in one line, and the rest works."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from spnas_core.backbones import BackboneProvider
from spnas_core.blocks import BlockFamily, ResidualSpec
from spnas_core.morphisms import Swap
from spnas_core.plugins import broken_plugins, registry
from spnas_core.plugins.kinds import KINDS, item_mistake
from spnas_core.plugins.registries import nouns
from spnas_core.presets import Preset
from spnas_core.stems import ConvolutionalStem

REGISTERS = """
    from spnas_core import hookimpl
    from spnas_core.blocks import ResidualSpec

    good = ResidualSpec("good", "", 2, bottleneck=True)

    @hookimpl
    def spnas_register_{noun}(register):
        register({name!r}, {item})

    @hookimpl
    def spnas_register_stems(register):
        from spnas_core.stems import ConvolutionalStem

        register("mine", ConvolutionalStem("mine", "as wide as it gets", (5, 3), pools=False))
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


@pytest.mark.parametrize("error", ["SystemExit", "GeneratorExit"])
@pytest.mark.parametrize("where", ["", "    @hookimpl\n    def spnas_register_blocks(register):\n        "])
def test_a_plugin_that_ends_the_process_is_reported_and_ends_nothing(install, where, error):
    install("rude", f"\n    from spnas_core import hookimpl\n\n{where or '    '}raise {error}(3)\n")
    assert "b" in registry("blocks").items
    assert [(plugin.name, plugin.reason) for plugin in broken_plugins()] == [("rude", f"{error}: 3")]


def block(name, aliases=()):
    return ResidualSpec(name, "", 2, bottleneck=True, aliases=aliases)


def stem(name):
    return ConvolutionalStem(name, "", (5, 3), pools=False)


def provider(_):
    return BackboneProvider("", tuple, Slots)


@pytest.mark.parametrize(
    ("noun", "make", "letters"),
    [
        ("blocks", block, "_@+~: \t\x1b"),
        ("stems", stem, "_@+~: \u200b"),
        ("backbones", provider, "~: \n"),
        ("necks", lambda _: Slots, "~: \n"),
        ("datasets", lambda _: Slots, ":"),
    ],
)
def test_a_name_holds_nothing_that_ends_it_where_it_is_written(noun, make, letters):
    for letter in letters:
        for name in (f"my{letter}own", f"{letter}my", f"my{letter}"):
            said = f"registers {name!r} among the {noun}, and a name ends there at {letter!r}: write {name!r} without"
            assert item_mistake(noun, name, make(name)) == said
    for name in ("my-own", "my(2x2)", "7", "größer"):
        assert item_mistake(noun, name, make(name)) is None


def test_aliases_and_examples_of_families_can_be_written_too():
    assert item_mistake("blocks", "mine", block("mine", ("my_own",))).endswith("at '_': write 'my_own' without")
    for aliases in ("own", 3, (3,), {}):
        mistake = item_mistake("blocks", "mine", block("mine", aliases))
        assert mistake.endswith(f"and its other names are {aliases!r}: they must be a tuple of texts")
    family = BlockFamily("q <width> @ any", "", ("q4", "q 8"), lambda _: None)
    assert item_mistake("blocks", family.name, family).endswith("at ' ': write 'q 8' without")
    assert item_mistake("blocks", family.name, replace(family, examples=("q4",))) is None


@pytest.mark.parametrize(
    ("noun", "item"), [("blocks", block("other")), ("stems", stem("other")), ("morphisms", Swap())]
)
def test_an_item_has_the_name_that_it_is_registered_under(noun, item):
    mistake = item_mistake(noun, "na", item)
    assert mistake == f"registers 'na' among the {noun}, and its own name is {item.name!r}: both must be the same"


def test_names_that_are_read_otherwise_are_mistakes(tmp_path):
    preset = Preset("lab.toml", tmp_path)
    assert item_mistake("presets", "lab.toml", preset).endswith("which names a file: leave out .toml")
    assert item_mistake("presets", "lab", replace(preset, name="lab")) is None
    assert item_mistake("contracts", "stem", Slots).endswith("registered among these; did you mean 'stems'?")
    assert item_mistake("contracts", "stems", Slots) is None


def test_a_preset_has_all_that_commands_ask_it_for():
    preset = SimpleNamespace(name="lab", file="lab", summary="", machine="", table=dict)
    assert item_mistake("presets", "lab", preset).endswith("is SimpleNamespace without text, explained")


def test_names_that_raise_are_a_mistake():
    class Raising(ResidualSpec):
        @property
        def aliases(self):
            raise OSError("no licence")

        @aliases.setter
        def aliases(self, _):
            pass

    mistake = item_mistake("blocks", "mine", Raising("mine", "", 2, bottleneck=True))
    assert mistake.endswith("and asked for its names it raises OSError: no licence")


@pytest.mark.parametrize("name", ["my_block", "x:y", "with~tilde"])
def test_a_name_that_no_code_can_hold_is_reported(install, name):
    install("odd", REGISTERS.format(noun="blocks", name=name, item=f"ResidualSpec({name!r}, '', 2, bottleneck=True)"))
    assert name not in registry("blocks").items
    assert broken_plugins()[0].reason.startswith(
        f"PluginError: plugin 'odd' registers {name!r} among the blocks, and a"
    )
