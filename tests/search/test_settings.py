import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spnas_core import Architecture, backbone_cost
from spnas_core.errors import ConfigError, PluginError, SpaceError, SpnasError
from spnas_core.presets import find_preset
from spnas_search.settings import RunSettings, SpaceSettings, read_toml, resolve, set_key, set_value, write_toml
from spnas_search.strategies import SerialSettings

NULL = {"name": "null"}


def refused(values, error: type[SpnasError] = ConfigError) -> str:
    with pytest.raises(error) as caught:
        resolve(values)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_nothing_resolves_to_the_defaults():
    resolved = resolve({})
    assert resolved.run == RunSettings()
    assert resolved.strategy == SerialSettings()
    assert resolved.task.name == "detection"
    assert resolve(resolved.as_dict()).as_dict() == resolved.as_dict()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"bugdet": {}}, "there is no setting 'bugdet'; did you mean 'budget'?"),
        ({"budget": {"candidate": 3}}, "there is no setting 'budget.candidate'; did you mean 'candidates'?"),
        ({"final": {"seed": 3}}, "there is no setting 'final.seed'; did you mean 'seeds'?"),
        ({"space": {"max_blcks": 3}}, "there is no setting 'space.max_blcks'; did you mean 'max_blocks'?"),
        ({"executor": {"worker": 3}}, "there is no setting 'executor.worker'; did you mean 'workers'?"),
        ({"strategy": {"rond": 3}}, "there is no setting 'strategy.rond'; did you mean 'round'?"),
        ({"strategy": {"name": "random", "epoch": 3}}, "no setting 'strategy.epoch'; did you mean 'epochs'?"),
        ({"task": {"name": "null", "nois": 0.1}}, "there is no setting 'task.nois'; did you mean 'noise'?"),
        ({"task": {"dta": "x"}}, "there is no setting 'task.dta'; did you mean 'data'?"),
        ({"task": {"training": {"optimiser": "sgd"}}}, "there is no setting 'task.training.optimiser'; "),
        ({"task": NULL | {"zzz": 1}}, "there is no setting 'task.zzz'; known: behaviour, "),
    ],
)
def test_an_unknown_key_suggests_the_nearest_of_its_table(values, message):
    assert message in refused(values)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"task": {"training": {"epochs": 1}}}, "there is no setting 'task.training.epochs'; elsewhere there is "),
        (
            {"strategy": {"batch_size": 4}},
            "there is no setting 'strategy.batch_size'; elsewhere there is task.training.batch_size",
        ),
        ({"workers": 4}, "there is no setting 'workers'; "),
        ({"candidates": 4}, "there is no setting 'candidates'; elsewhere there is budget.candidates"),
    ],
)
def test_an_unknown_key_is_looked_for_in_other_tables(values, message):
    assert message in refused(values)


def test_keys_that_end_like_an_unknown_one_are_named():
    named = refused({"task": {"training": {"epochs": 1}}}).partition("elsewhere there is ")[2].split(", ")
    assert {"warm_start_epochs", "budget.epochs", "strategy.epochs"} < set(named)


def test_an_unknown_key_with_a_bracket_is_refused_too():
    assert "there is no setting 'a[b'" in refused({"a[b": 1})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"seed": -1}, "seed is -1: input should be greater than or equal to 0"),
        ({"seed": "one"}, "seed is 'one': input should be a valid integer"),
        ({"start": 3}, "start is 3: input should be a valid string"),
        ({"budget": 5}, "budget is 5: input should be a valid table"),
        ({"budget": {"candidates": -1}}, "budget.candidates is -1: input should be greater than or equal to 0"),
        ({"budget": {"candidates": "many"}}, "budget.candidates is 'many': input should be a valid integer"),
        ({"budget": {"hours": 0}}, "budget.hours is 0: input should be greater than 0"),
        ({"final": {"seeds": 1.5}}, "final.seeds is 1.5: input should be a valid integer"),
        ({"noise_seeds": 1}, "noise_seeds is 1: input should be greater than or equal to 2"),
        ({"space": {"min_blocks": 0}}, "space.min_blocks is 0: input should be greater than or equal to 1"),
        ({"space": {"block_types": ["b", 3]}}, "space.block_types is 3: input should be a valid string"),
        ({"space": {"max_parameters": 0}}, "space.max_parameters is 0: input should be greater than or equal to 1"),
        ({"executor": {"timeout": -2}}, "executor.timeout is -2: input should be greater than 0"),
        ({"executor": {"workers": "some"}}, "executor.workers is 'some': input should be 'auto'"),
        ({"strategy": {"pool": 0}}, "strategy.pool is 0: input should be greater than or equal to 1"),
        ({"strategy": {"odds": {"swap": "often"}}}, "strategy.odds.swap is 'often': input should be a valid number"),
        ({"strategy": "serial"}, "strategy is 'serial': input should be a valid table"),
        ({"strategy": {"name": 3}}, "strategy.name is 3: it must be the name of a registered strategy"),
        ({"task": {"name": ["null"]}}, "task.name is ['null']: it must be the name of a registered task"),
        ({"task": NULL | {"half_life": 0}}, "task.half_life is 0: input should be greater than 0"),
        ({"task": {"image_size": [128, 16]}}, "task.image_size is 16: input should be greater than or equal to 32"),
        ({"seed": True}, "seed is True: input should be a number"),
        ({"budget": {"hours": True}}, "budget.hours is True: input should be a number"),
        ({"strategy": {"odds": {"swap": True}}}, "strategy.odds.swap is True: input should be a number"),
        ({"task": {"detector": {"anchor_scales": [2.0, True]}}}, "task.detector.anchor_scales is True: input should"),
    ],
)
def test_a_wrong_value_names_key_value_and_what_is_allowed(values, message):
    assert refused(values).startswith(message)


PAIRS = {"name": "q-learning", "schedule": [[1.0]]}
MANY = {"min_mutations": 5}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"task": {"name": "replay"}}, "task.table is missing: it must be given, as a text"),
        ({"strategy": {"name": "phases"}}, "strategy.phases is missing: it must be given, as a list"),
        ({"strategy": PAIRS}, "strategy.schedule is [1.0]: it has 1 value(s), and value 2 is required"),
        ({"strategy": MANY}, "strategy: min_mutations is 5, above max_mutations = 3: raise the latter"),
        (
            {"strategy": {"name": "full", "serial": MANY}},
            "strategy.serial: min_mutations is 5, above max_mutations = 1: raise the latter",
        ),
        (
            {"strategy": {"name": "phases", "phases": []}},
            "strategy.phases is []: list should have at least 1 item, not 0",
        ),
        (
            {"strategy": {"name": "phases", "phases": ["serial"]}},
            "strategy.phases is 'serial': input should be a valid table",
        ),
        ({"pareto": "foo"}, "pareto is 'foo': input should be a valid list"),
        ({"strategy": {"odds": {}}}, "strategy.odds is {}: table should have at least 1 item, not 0"),
        ({"budget": 5}, "budget is 5: input should be a valid table"),
    ],
)
def test_a_message_is_in_the_words_of_toml_and_shows_no_table(values, message):
    assert refused(values) == message


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"noise_seeds": 10**11}, "noise_seeds is 100000000000: input should be less than or equal to 1000"),
        ({"final": {"epochs": 10**20}}, f"final.epochs is {10**20}: input should be less than or equal to 1000000"),
        ({"strategy": {"epochs": 10**20}}, f"strategy.epochs is {10**20}: input should be less than or equal to 10000"),
        ({"screen": {"draws": 10**11}}, "screen.draws is 100000000000: input should be less than or equal to 1000"),
        ({"seed": 2**63}, f"seed is {2**63}: input should be less than {2**63}"),
    ],
)
def test_a_number_above_its_limit_names_key_value_and_limit(values, message):
    assert refused(values).startswith(message)


@pytest.mark.parametrize("text", ["1000001x", "9" * 400 + "x"])
def test_a_multiple_beyond_all_numbers_is_refused(text):
    for key in ("max_blocks", "max_parameters"):
        assert "is at most '1000000x'" in refused({"space": {key: text}})


@pytest.mark.parametrize(
    ("values", "allowed"),
    [
        ({"executor": {"workers": 0}}, "greater than or equal to 1"),
        ({"space": {"max_multiply_adds": "half"}}, "x"),
    ],
)
def test_a_wrong_value_of_a_union_names_all_that_is_allowed(values, allowed):
    assert allowed in refused(values).partition(": ")[2]


def test_an_unknown_strategy_or_task_suggests_the_nearest():
    message = refused({"strategy": {"name": "serail"}}, PluginError)
    assert message == "'serail' is not among the registered strategies; did you mean 'serial'?"
    message = refused({"task": {"name": "detecton"}}, PluginError)
    assert message == "'detecton' is not among the registered tasks; did you mean 'detection'?"
    known = (
        "; known: evolution, full, generations, gradient, hill-climb, parallel, phases, policy, progressive, "
        "q-learning, random, regularized-evolution, serial"
    )
    assert known in refused({"strategy": {"name": "?"}}, PluginError)


def test_a_strategy_and_a_task_bring_their_own_tables():
    resolved = resolve({"strategy": {"name": "serial", "max_mutations": 5}, "task": NULL | {"behaviour": {"3": "nan"}}})
    assert resolved.strategy == SerialSettings(max_mutations=5)
    assert resolved.task.behaviour == {3: "nan"}


@pytest.mark.parametrize(
    ("text", "line"), [("seed = 1\n\n[budget\n", "line 3"), ("seed = = 1\n", "line 1"), ("a = 1\na = 2\n", "line 2")]
)
def test_a_syntax_error_names_file_and_line(tmp_path, text, line):
    path = tmp_path / "run.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        read_toml(path)
    assert str(caught.value).startswith(f"{path} is no valid TOML: ")
    assert line in str(caught.value)


def test_files_that_cannot_be_read_are_named(tmp_path):
    with pytest.raises(ConfigError, match=r"cannot read the configuration .*none\.toml: No such file"):
        read_toml(tmp_path / "none.toml")
    with pytest.raises(ConfigError, match="Is a directory"):
        read_toml(tmp_path)
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match=r"bytes\.toml is no valid TOML"):
        read_toml(tmp_path / "bytes.toml")


ratios = st.decimals("0.01", "99", places=2).map(lambda ratio: f"{ratio}x")
limits = st.just("none") | st.integers(1, 10**12) | ratios
optional = {
    "seed": st.integers(0, 2**63 - 1),
    "init": st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    "objective": st.none() | st.sampled_from(["score", "loss"]),
    "budget": st.fixed_dictionaries(
        {}, optional={"candidates": st.integers(0, 99), "hours": st.none() | st.floats(1e-9, 1e9)}
    ),
    "space": st.fixed_dictionaries(
        {},
        optional={
            "block_types": st.lists(st.sampled_from(["b", "r", "x32x4d"])),
            "max_parameters": limits,
            "max_multiply_adds": limits,
        },
    ),
    "executor": st.fixed_dictionaries(
        {}, optional={"workers": st.just("auto") | st.integers(1, 9), "timeout": st.none() | st.floats(0.1, 1e6)}
    ),
    "strategy": st.fixed_dictionaries(
        {"name": st.just("serial")},
        optional={
            "odds": st.dictionaries(st.sampled_from(["swap", "expand", "add-stage"]), st.floats(0, 9), min_size=1),
            "merit_power": st.floats(0, 100),
        },
    ),
    "task": st.fixed_dictionaries(
        {"name": st.just("null")},
        optional={
            "noise": st.floats(0, 1),
            "behaviour": st.dictionaries(st.integers(0, 99).map(str), st.sampled_from(["nan", "raise"])),
        },
    ),
}


def test_a_bound_that_is_turned_off_stays_off_when_read_back():
    resolved = resolve({"space": {"max_multiply_adds": "none"}})
    assert resolve(resolved.as_dict()).run.space.max_multiply_adds == "none"
    space = resolved.run.space.build(Architecture.parse("b@8_11-21-21-21"), (64, 64))
    assert space.max_multiply_adds is None


@settings(max_examples=80)
@given(st.fixed_dictionaries({}, optional=optional))
def test_resolved_settings_are_read_back_as_they_were_written(tmp_path_factory, values):
    resolved = resolve(values)
    path = tmp_path_factory.mktemp("run") / "run.toml"
    write_toml(resolved.as_dict(), path)
    again = resolve(read_toml(path))
    assert (again.strategy, again.task, again.executor) == (resolved.strategy, resolved.task, resolved.executor)
    own = {"strategy", "task", "executor"}
    assert again.run.model_dump(exclude=own) == resolved.run.model_dump(exclude=own)
    assert again.as_dict() == resolved.as_dict()


@given(st.integers(1, 400))
def test_a_multiple_of_the_starts_cost_becomes_a_number(percent):
    start = Architecture.parse("b@8_11-21")
    ratio = f"{percent / 100}x"
    space = SpaceSettings(
        min_stages=2, max_parameters=ratio, max_multiply_adds=ratio, max_activation_bytes=ratio
    ).build(start, (96, 64))
    cost = backbone_cost(start, 96, 64)
    for found, exact in (
        (space.max_parameters, cost.parameters),
        (space.max_multiply_adds, cost.multiply_adds),
        (space.max_activation_bytes, cost.activation_bytes),
    ):
        assert found == int(percent / 100 * exact)
    assert space.image_size == (96, 64)
    assert (start in space) == (percent >= 100)


def test_bounds_in_numbers_and_missing_ones_are_kept():
    start = Architecture.parse("b@8_11-21-21-21")
    space = SpaceSettings(max_parameters=12345, max_multiply_adds="none", max_rows=1, block_types=("b",)).build(
        start, (32, 32)
    )
    assert (space.max_parameters, space.max_multiply_adds, space.max_activation_bytes) == (12345, None, None)
    assert (space.min_blocks, space.max_blocks, space.min_stages, space.max_stages) == (4, 16, 4, 7)
    assert (space.max_rows, space.block_types) == (1, ("b",))
    for most, blocks in (("1x", 8), ("1.6x", 12), (9, 9), ("0.1x", 4)):
        assert SpaceSettings(max_blocks=most).build(start, (32, 32)).max_blocks == blocks
    assert SpaceSettings(min_blocks=1, min_stages=6, max_blocks="0.1x").build(start, (32, 32)).max_blocks == 6
    fifty = Architecture.parse("b_" + "1" * 50)
    assert SpaceSettings(max_blocks="2.3x").build(fifty, (32, 32)).max_blocks == 115
    with pytest.raises(SpaceError, match="min_blocks 9 is above max_blocks 8"):
        SpaceSettings(min_blocks=9, max_blocks=8).build(start, (32, 32))


@pytest.mark.parametrize("text", ["1.5", "x", "-1x", "1.5 x", "1e3x", "1.x"])
def test_only_a_number_and_an_x_is_a_multiple(text):
    with pytest.raises(ConfigError, match=r"space\.max_parameters is "):
        resolve({"space": {"max_parameters": text}})


@pytest.mark.parametrize(
    ("assignment", "expected"),
    [
        ("seed=3", {"seed": 3}),
        (" seed = 3 ", {"seed": 3}),
        ("strategy.pool=6", {"strategy": {"name": "serial", "pool": 6}}),
        ("strategy.name=random", {"strategy": {"name": "random"}}),
        ("start=b@8_11-21", {"start": "b@8_11-21"}),
        ('init="a b"', {"init": "a b"}),
        ("init=a=b", {"init": "a=b"}),
        ("budget.hours=0.5", {"budget": {"hours": 0.5}}),
        ("task.image_size=[64, 32]", {"task": {"image_size": [64, 32]}}),
        ("task.deep.er={x = 1}", {"task": {"deep": {"er": {"x": 1}}}}),
        ("init=", {"init": ""}),
    ],
)
def test_an_assignment_reaches_into_tables_and_reads_toml(assignment, expected):
    values = {"strategy": {"name": "serial"}}
    set_key(values, assignment)
    assert values == {"strategy": {"name": "serial"}} | expected


@pytest.mark.parametrize("assignment", ["seed", "=3", ".seed=3", "budget.=3", "a..b=1"])
def test_what_is_no_assignment_is_refused_with_an_example(assignment):
    with pytest.raises(ConfigError) as caught:
        set_key({}, assignment)
    assert str(caught.value) == f"--set {assignment!r} must look like key=value, for example strategy.pool=6"


def test_an_assignment_below_a_value_is_refused():
    with pytest.raises(ConfigError, match=r"--set 'seed\.x=1': 'seed' is a value, not a table"):
        set_key({"seed": 3}, "seed.x=1")


def test_setting_one_key_of_a_table_leaves_the_others_at_their_defaults():
    values: dict = {}
    set_key(values, "strategy.odds.swap=2")
    assert resolve(values).strategy.odds == {"swap": 2.0, "expand": 0.4, "add-stage": 0.1}
    values = {"strategy": {"odds": {"expand": 1.0}}}  # a table of one's own is the whole table
    set_key(values, "strategy.odds.swap=2")
    assert resolve(values).strategy.odds == {"expand": 1.0, "swap": 2.0}


@pytest.mark.parametrize("text", ["a'b", 'a"b', "a\\b", "a\u00a0b ", "\u00a0", "x\ny", "1", "true", "[x]"])
def test_a_value_that_is_set_as_it_is_stays_that_text(text):
    values: dict = {}
    set_value(values, "task.data", text)
    assert values == {"task": {"data": text}}


def test_an_assignment_strips_blanks_only_and_takes_more_lines_as_text():
    values: dict = {}
    set_key(values, " task.data = voc:a\u00a0 ")
    set_key(values, "start=1\nseed = 3")
    assert values == {"task": {"data": "voc:a\u00a0"}, "start": "1\nseed = 3"}


def test_a_list_that_ends_too_early_says_what_it_lacks():
    with pytest.raises(ConfigError, match=r"task\.image_size is \[64\]: it has 1 value\(s\), and value 2 is required"):
        resolve({"task": {"name": "null", "image_size": [64]}})


LONG = ["9" * 5000, "0x" + "f" * 5000, "[" * 5000, "-" + "9" * 5000]


@pytest.mark.parametrize("text", LONG)
def test_values_that_no_reader_of_toml_can_take_are_refused_in_a_line(tmp_path, text):
    file = tmp_path / "x.toml"
    file.write_text(f"seed = {text}")
    for read in (lambda: resolve(read_toml(file)), lambda: find_preset(str(file)).values()):
        with pytest.raises(ConfigError) as caught:
            read()
        assert len(str(caught.value)) < 1000
    values = {}
    set_key(values, f"seed={text}")
    with pytest.raises(ConfigError, match=r"^seed is") as caught:
        resolve(values)
    assert len(str(caught.value)) < 1000
