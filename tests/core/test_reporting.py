"""Reports come from plugins: the first that knows a folder, and sections of others; a broken one is named."""

import pytest

from spnas_core.errors import ConfigError, DataError
from spnas_core.pages import report_on
from spnas_core.plugins import broken_plugins

REPORTS = """
from pathlib import Path
from spnas_core import hookimpl
from spnas_core.pages import Report, Section, paragraph

@hookimpl
def spnas_report(reference):
    if reference == "mine":
        return Report(Path("mine"), "test", "mine", "done", (Section("one", "One", paragraph("first")),))
"""
ADDS = """
from spnas_core import hookimpl
from spnas_core.pages import Section, paragraph

@hookimpl
def spnas_report_sections(folder):
    return [Section("two", "Two", paragraph(f"of {folder}")), Section("one", "Again", paragraph("again"))]
"""
RAISES = """
from spnas_core import hookimpl

@hookimpl
def spnas_report(reference):
    raise RuntimeError("no luck")

@hookimpl
def spnas_report_sections(folder):
    return "<b>sections</b>"
"""
REFUSES = """
from spnas_core import hookimpl
from spnas_core.errors import DataError

@hookimpl
def spnas_report(reference):
    if reference == "theirs":
        raise DataError("theirs is damaged: restore it")

@hookimpl
def spnas_report_sections(folder):
    raise DataError("no notes")
"""


def test_a_report_may_be_refused_and_a_section_takes_nothing_down(install):
    from spnas_core.plugins import reset_plugins

    install("reports", REPORTS)
    install("refuses", REFUSES)
    with pytest.raises(DataError, match="theirs is damaged"):
        report_on("theirs")
    assert [one.anchor for one in report_on("mine").sections] == ["one"]
    assert [one.reason for one in broken_plugins()] == ["DataError: no notes"]
    reset_plugins()


def test_sections_of_others_are_added_and_no_anchor_stands_twice(install):
    install("reports", REPORTS)
    install("adds", ADDS)
    found = report_on("mine")
    assert [(one.anchor, one.title) for one in found.sections] == [("one", "One"), ("two", "Two")]
    assert found.sections[1].body == '<p class="">of mine</p>'


def test_what_nobody_knows_is_refused():
    with pytest.raises(ConfigError, match="nowhere is nothing to report on: name the folder of a run"):
        report_on("nowhere")


def test_a_broken_plugin_is_named_once_and_the_report_stands(install):
    from spnas_core.plugins import reset_plugins

    install("reports", REPORTS)
    install("zz-raises", RAISES)
    for _ in range(2):
        assert [one.anchor for one in report_on("mine").sections] == ["one"]
    reasons = [one.reason for one in broken_plugins()]
    wrong = "TypeError: spnas_report_sections is answered by a str: it must be a tuple or list, or None"
    assert sorted(reasons) == ["RuntimeError: no luck", wrong]
    reset_plugins()
