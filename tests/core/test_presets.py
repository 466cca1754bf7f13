"""Presets: files of settings, found by name, one over the other."""

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spnas_core.configuration import merge_tables, set_key
from spnas_core.errors import ConfigError, PluginError
from spnas_core.hookspecs import hookimpl
from spnas_core.plugins import plugin_manager, registry
from spnas_core.presets import Preset, find_preset, laid_over, presets_in

TOP = 'summary = "for tests"\nmachine = "any"\n'


def write(folder, text, name="mine"):
    file = folder / f"{name}.toml"
    file.write_text(TOP + text, encoding="utf-8")
    return Preset(name, file)


@pytest.fixture
def register():
    """Register presets as a plugin does."""
    added = []

    def add(*presets):
        class Plugin:
            @hookimpl
            def spnas_register_presets(self, register):
                for preset in presets:
                    register(preset.name, preset)

        plugin_manager().register(Plugin(), name="of-tests")
        added.append("of-tests")
        registry.cache_clear()

    from spnas_core.plugins import plugin_origins

    plugin_origins()
    yield add
    for name in added:
        plugin_manager().unregister(name=name)
    registry.cache_clear()


def test_a_preset_has_its_tables_and_says_what_it_is_for(tmp_path):
    preset = write(tmp_path, "[task]\nimage_size = [64, 32]\n[train]\nepochs = 3\n")
    assert (preset.summary, preset.machine) == ("for tests", "any")
    assert (preset.table("task"), preset.table("train"), preset.table("search")) == (
        {"image_size": [64, 32]},
        {"epochs": 3},
        {},
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sumary = 'x'\n", "there is no setting 'sumary'; did you mean 'summary'?"),
        ("[zzz]\n", "there is no setting 'zzz'; known: extends, machine, search, summary, task, train"),
        ("task = 3\n", "task is 3: input should be a valid table"),
        ("[task\n", "is no valid TOML"),
    ],
)
def test_a_wrong_file_names_preset_file_and_key(tmp_path, text, message):
    preset = write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        preset.table("task")
    assert str(caught.value).startswith(f"preset mine ({preset.file}): ")
    assert message in str(caught.value)


def test_a_file_without_a_summary_lacks_it_in_one_short_line(tmp_path):
    file = tmp_path / "base.toml"
    file.write_text("[task]\nname = 'null'\n", encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        Preset("base", file).table("task")
    assert str(caught.value) == f"preset base ({file}): summary is missing: it must be given, as a text"


def test_a_file_without_a_summary_or_that_is_not_there_is_refused(tmp_path):
    (tmp_path / "a.toml").write_text('machine = "any"\n')
    with pytest.raises(ConfigError, match=r"preset a \(.*a.toml\): summary"):
        _ = Preset("a", tmp_path / "a.toml").summary
    with pytest.raises(ConfigError, match="the file cannot be read: No such file"):
        _ = find_preset(str(tmp_path / "b.toml")).summary


def test_a_preset_goes_on_top_of_the_one_that_it_extends(tmp_path, register):
    base = write(tmp_path, "[task]\na = 1\nb = 1\n[task.odds]\nx = 1\n[search.space]\nk = 1\n", "base")
    child = write(tmp_path, 'extends = "base"\n[task]\nb = 2\n[task.odds]\ny = 2\n', "child")
    register(base, child)
    assert child.table("task") == {"a": 1, "b": 2, "odds": {"y": 2}}
    assert child.table("search") == {"space": {"k": 1}}
    child.table("search")["space"]["k"] = 2
    assert child.table("search") == {"space": {"k": 1}} == base.table("search")


def test_presets_that_extend_one_another_or_nobody_are_refused(tmp_path, register):
    one, two = (write(tmp_path, f'extends = "{other}"\n', name) for name, other in (("one", "two"), ("two", "one")))
    lost = write(tmp_path, 'extends = "onne"\n', "lost")
    register(one, two, lost)
    with pytest.raises(ConfigError, match=r"\): one extends two extends one: leave one of these out"):
        one.table("task")
    with pytest.raises(ConfigError, match=r"preset lost \(.*\): 'onne' is not among .* did you mean 'one'"):
        lost.table("task")


def test_an_unknown_preset_suggests_the_nearest_and_a_file_needs_no_name(tmp_path, register):
    register(write(tmp_path, "", "microscope"))
    with pytest.raises(PluginError, match="'microscop' is not among the registered presets; did you mean 'microscope'"):
        find_preset("microscop")
    assert find_preset(str(tmp_path / "microscope.toml")).summary == "for tests"


VALUES = st.recursive(
    st.integers(-9, 9) | st.booleans() | st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=8),
    lambda inner: st.lists(inner, max_size=40) | st.dictionaries(st.sampled_from("abc [],"), inner, max_size=3),
    max_leaves=60,
)


@given(task=st.dictionaries(st.sampled_from(["a", "b [", "c]", "[ d"]), VALUES, max_size=4))
def test_what_is_printed_reads_as_what_is_set(tmp_path_factory, task):
    import tomli_w

    file = tmp_path_factory.mktemp("presets") / "p.toml"
    file.write_text(TOP + tomli_w.dumps({"task": task}), encoding="utf-8")
    printed = Preset("p", file).text()
    assert tomllib.loads(printed).get("task", {}) == task


def test_short_arrays_stand_in_one_line_and_long_ones_do_not(tmp_path):
    long = [list(range(100, 140)), [1]]
    preset = write(tmp_path, f"[task]\nshort = [1, 2]\nlong = {long}\n")
    lines = preset.text().splitlines()
    assert "short = [1, 2]" in lines
    assert "    [1]," in lines
    assert max(map(len, lines)) <= 120


def test_files_of_a_package_are_its_presets(tmp_path, monkeypatch):
    folder = tmp_path / "a_package_with_presets" / "presets"
    folder.mkdir(parents=True)
    (folder.parent / "__init__.py").touch()
    for name in ("two", "one"):
        write(folder, "", name)
    (folder / "notes.txt").touch()
    monkeypatch.syspath_prepend(tmp_path)
    found = dict(presets_in("a_package_with_presets"))
    assert list(found) == ["one", "two"]
    assert found["two"].summary == "for tests"


def test_tables_merge_key_by_key_but_for_those_that_replace():
    below = {"a": {"x": 1, "y": {"z": 1}}, "odds": {"swap": 1}, "k": 1}
    above = {"a": {"y": {"w": 2}}, "odds": {"expand": 2}}
    assert laid_over(below, above) == {"a": {"x": 1, "y": {"z": 1, "w": 2}}, "odds": {"expand": 2}, "k": 1}
    assert below["a"]["y"] == {"z": 1}
    assert above == {"a": {"y": {"w": 2}}, "odds": {"expand": 2}}


def test_a_table_of_another_name_replaces():
    below = {"strategy": {"name": "serial", "pool": 4}, "task": {"name": "null", "noise": 1}}
    above = {"strategy": {"name": "random", "epochs": 2}, "task": {"noise": 2}}
    assert laid_over(below, above) == {
        "strategy": {"name": "random", "epochs": 2},
        "task": {"name": "null", "noise": 2},
    }
    assert laid_over({"strategy": {"pool": 4}}, above)["strategy"] == {"name": "random", "pool": 4, "epochs": 2}


def test_single_keys_of_a_table_that_replaces_are_mixed():
    own = {}
    set_key(own, "strategy.odds.swap=2")
    assert laid_over({"strategy": {"odds": {"swap": 1, "expand": 1}}}, own) == {
        "strategy": {"odds": {"swap": 2, "expand": 1}}
    }
    values = {"odds": {"a": 1}}
    merge_tables(values, {"odds": {"b": 1}})
    assert values == {"odds": {"a": 1, "b": 1}}
