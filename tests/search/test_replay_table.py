"""Reading and writing replay tables, and files that are none."""

import gzip

import pytest
from replaying import CODES, asked, made_table, rows

from spnas_core.errors import ConfigError
from spnas_search.replay import ReplayTask, read_table
from spnas_search.replay.table import read_rows, write_table


@pytest.fixture
def table(tmp_path):
    return made_table(tmp_path)


def test_a_table_is_read_back_and_its_bytes_do_not_depend_on_the_order(table, tmp_path):
    assert sorted(map(str, read_rows(table))) == sorted(map(str, [*rows(), *rows("large", 2)]))
    again = tmp_path / "again.csv.gz"
    write_table(again, [*rows("large", 2), *reversed(rows())], ["AP", "AP50"])
    assert again.read_bytes() == table.read_bytes()
    small = read_table(table, "small")
    assert (small.ages, small.metrics, len(small.trained)) == ((4,), ("AP", "AP50"), len(CODES))
    assert small.costs[CODES[2]]["multiply_adds"] == 1002


def test_files_that_are_no_table_are_refused(table, tmp_path):
    with pytest.raises(ConfigError, match="has no data 'medium'"):
        read_table(table, "medium")
    with pytest.raises(ConfigError, match=r"cannot be read: .*No such file"):
        read_table(tmp_path / "none.csv.gz", "small")
    other = tmp_path / "other.csv.gz"
    with gzip.open(other, "wt") as file:
        file.write("a,b\n1,2\n")
    with pytest.raises(ConfigError, match="is no replay table: its columns must be"):
        read_table(other, "small")
    for lines, message in (
        (["small,b@8_1,0,4,9,9,9"], "line 2 of the replay table .* has more or fewer cells than there are columns"),
        (["small,b@8_1,0,4,9,9,9,0.5,7"], "line 2 .* has more or fewer cells"),
        (
            ["small,b@8_1,0,4,9,9,9,0.5", "small,b@8_1,0,-4,9,9,9,0.5"],
            r"line 3 .* has epochs = '-4': it must be a whole number",
        ),
        (["small,b@8_1,0,4,9,many,9,0.5"], "has parameters = 'many': it must be a whole number, 0 or more"),
        (["small,b@8_1,0,4,9,9,9,inf"], "has AP = 'inf': it must be a finite number, or empty where it is undefined"),
        (["small,b@8_1,0,4,9,9,9,0.5"] * 2, "line 3 .* is small, b@8_1, 0, 4, which another line is already"),
        (
            ["small,b@8_1,0,4,9,9,9,0.5", "small,foo,0,4,9,9,9,0.5"],
            "line 3 of the replay table .*: 'foo' is no architecture code",
        ),
        (["small,b@8_f,0,4,9,9,9,0.5"], "line 2 of the replay table .*: block 1 of stage 1 of 'f' is 'f'"),
        (["small,B@8_1,0,4,9,9,9,0.5"], "line 2 of the replay table"),
    ):
        with gzip.open(other, "wt") as file:
            file.write("\n".join(["data,code,repetition,epochs,multiply_adds,parameters,activation_bytes,AP", *lines]))
        with pytest.raises(ConfigError, match=message):
            read_table(other, "small")
    other.write_bytes(table.read_bytes()[:-20])
    with pytest.raises(ConfigError, match="cannot be read"):
        read_table(other, "small")
    with pytest.raises(ConfigError, match="has no metric 'AR'"):
        _ = ReplayTask(table, "small", objective="AR").metrics


def test_a_table_whose_bytes_are_damaged_and_a_cost_that_no_float_holds_are_refused(table, tmp_path):
    damaged = tmp_path / "damaged.csv.gz"
    damaged.write_bytes(b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\xff\xff\xff")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_table(damaged, "small")
    write_table(table, [{**row, "multiply_adds": 10**400} for row in rows()], ["AP", "AP50"])
    with pytest.raises(ConfigError, match=r"line 2 .* has multiply_adds = '1000*'"):
        read_table(table, "small")


def test_a_table_that_was_mended_is_read_anew(table):
    assert read_table(table, "small") is read_table(table, "small")
    begun = ReplayTask(table, "small")
    before = asked(begun, CODES[0], split="test").metrics
    write_table(table, rows(repetitions=1), ["AP", "AP50"])
    assert asked(begun, CODES[0], split="test").metrics == before, "a search goes on with what it began with"
    assert {len(each) for each in read_table(table, "small").trained[CODES[0]].values()} == {1}
    write_table(table, rows(), ["AP", "AP50"])
    assert {len(each) for each in read_table(table, "small").trained[CODES[0]].values()} == {3}
