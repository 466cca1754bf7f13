"""No plugin changes what a code means: names that an alias has, or a family reads, are taken in whichever order."""

from dataclasses import replace

import pytest

from spnas_core.blocks import BlockFamily, ResidualSpec, block_spec
from spnas_core.blocks.regnet import REGNET_BLOCKS
from spnas_core.encoding import Architecture
from spnas_core.errors import CodeError, PluginError
from spnas_core.plugins import Registry, broken_plugins, registry

BLOCKS = """
    from spnas_core import hookimpl
    from spnas_core.blocks import BlockFamily, ResidualSpec

    def block(name, *aliases):
        return ResidualSpec(name, "", 2, bottleneck=True, aliases=aliases)

    def family(name, example):
        return BlockFamily(name, "", (example,), lambda name: block(name) if name[:1] == example[0] else None)

    @hookimpl
    def spnas_register_blocks(register):
        for item in ({items}):
            register(item.name, item)
"""


def block(name, *aliases):
    return ResidualSpec(name, "", 2, bottleneck=True, aliases=aliases)


def wide(name):
    """Read ``w<width>``, of at most 64."""
    if not (name.startswith("w") and name[1:].isdigit()):
        return None
    if int(name[1:]) > 64:
        raise CodeError(f"{name} is too wide")
    return block(name)


WIDE = BlockFamily("w<width>", "", ("w4",), wide)


@pytest.mark.parametrize(
    ("item", "shared", "names"),
    [
        ("block('g16')", "g16", "'g<width>[s]' and as 'g16'"),
        ("block('m3k3')", "m3k3", "'m<e>k<k>[s]' and as 'm3k3'"),
        ("block('m9k9')", "m9k9", "'m<e>k<k>[s]' and as 'm9k9'"),
        ("block('q', 'g16')", "g16", "'g<width>[s]' and as 'q'"),
        ("block('x(32x4d)')", "x(32x4d)", "'x32x4d' and as 'x(32x4d)'"),
        ("block('q', 'r')", "r", "'r' and as 'q'"),
        ("family('d<any>', 'd4')", "d", "'d' and as 'd<any>'"),
        ("family('g<any>', 'gx')", "g4", "'g<width>[s]' and as 'g<any>'"),
    ],
)
def test_a_name_that_something_built_in_goes_by_is_taken(install, item, shared, names):
    before = {code: block_spec(Architecture.parse(code).block) for code in ("g16_1", "m3k3_1", "x(32x4d)_1", "d_1")}
    install("odd", BLOCKS.format(items=f"{item}, block('free')"))
    assert "free" in registry("blocks").items
    (broken,) = broken_plugins()
    clash = f"plugins 'core' and 'odd' both register {shared!r} among the blocks, as {names}: uninstall one, or rename"
    assert broken.reason == f"PluginError: {clash}"
    after = {code: block_spec(Architecture.parse(code).block) for code in before}
    assert after == before


@pytest.mark.parametrize(
    ("first", "second", "shared"),
    [
        (WIDE, block("w8"), "w8"),
        (WIDE, block("w99"), "w99"),
        (WIDE, block("q", "w8"), "w8"),
        (WIDE, replace(WIDE, name="w<n>", examples=("w8",)), "w8"),
        (block("q", "long"), block("long"), "long"),
        (block("q", "long"), block("p", "long"), "long"),
    ],
)
def test_whoever_comes_first_keeps_the_name(first, second, shared):
    for one, other in ((first, second), (second, first)):
        found = Registry("blocks")
        found.add("one", one.name, one)
        with pytest.raises(PluginError, match=rf"plugins 'one' and 'other' both register '({shared}|w4)' among"):
            found.add("other", other.name, other)
        assert found.items == {one.name: one}


def test_names_that_are_like_those_of_a_family_and_none_of_them_are_free():
    found = Registry("blocks")
    for item in (REGNET_BLOCKS, WIDE, block("g08"), block("g"), block("w"), block("wide", "w-8")):
        found.add("one", item.name, item)
    assert len(found.items) == 6


def test_a_family_that_fails_takes_no_name_of_others():
    found = Registry("blocks")
    found.add("one", "w<width>", replace(WIDE, read=int))
    found.add("other", "wide", block("wide"))
    assert list(found.items) == ["w<width>", "wide"]


def test_other_nouns_have_no_families():
    """A source of backbones has a function ``read``, too, for files of weights."""
    found = Registry("backbones")
    for name, item in registry("backbones").items.items():
        found.add("one", name, item)
        found.add("one", f"{name}2", item)
