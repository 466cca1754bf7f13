"""Digests follow the plugins that are there now."""

from spnas_search.installed import installed_code


def test_a_plugin_that_is_gone_is_gone(install):
    before = installed_code()
    install("passing", "")
    assert set(installed_code()) - set(before) == {"fake_spnas_passing_passing"}


def test_and_no_test_after_it_sees_it():
    assert not [package for package in installed_code() if package.startswith("fake_")]
