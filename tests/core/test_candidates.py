"""What ``RUN[:ID]`` stands for comes from plugins: the first that knows it; a broken one is named."""

from pathlib import Path

import pytest

from spnas_core.errors import ArchiveError
from spnas_core.plugins import broken_plugins, reset_plugins
from spnas_core.tasks import ResolvedCandidate, resolve_candidate

KNOWS = """
    from spnas_core import hookimpl
    from spnas_core.errors import ArchiveError
    from spnas_core.tasks import ResolvedCandidate

    @hookimpl
    def spnas_resolve_candidate(reference):
        if reference == "theirs:9":
            raise ArchiveError("theirs has 3 candidates: there is no candidate 9")
        return ResolvedCandidate("b@8_1-1", None) if reference == "theirs:1" else None
"""
ODD = """
    from spnas_core import hookimpl
    from spnas_core.tasks import ResolvedCandidate

    @hookimpl
    def spnas_resolve_candidate(reference):
        {statement}
"""


@pytest.mark.parametrize(
    ("statement", "reason"),
    [
        ("raise RuntimeError('no luck')", "RuntimeError: no luck"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        (
            "return 'b@8_1-1'",
            "TypeError: spnas_resolve_candidate is answered by a str: it must be a ResolvedCandidate, or None",
        ),
        (
            "return ResolvedCandidate('b@8_1-1', 'w.safetensors')",
            "TypeError: a ResolvedCandidate has weights = 'w.safetensors': it must be the Path of a file, or None",
        ),
    ],
)
def test_a_plugin_that_fails_is_named_and_the_next_is_asked(install, statement, reason):
    install("knows", KNOWS)
    install("odd", ODD.format(statement=statement))  # registered later, so asked first
    assert resolve_candidate("theirs:1") == ResolvedCandidate("b@8_1-1", None)
    assert resolve_candidate("nobodys") is None
    assert [(one.name, one.reason) for one in broken_plugins()] == [("odd", reason)]
    reset_plugins()


def test_a_candidate_that_a_known_run_lacks_is_refused(install):
    install("knows", KNOWS)
    with pytest.raises(ArchiveError, match="there is no candidate 9"):
        resolve_candidate("theirs:9")
    assert not broken_plugins()


@pytest.mark.parametrize(
    "given", [(None, None), ("b_11", "w.safetensors"), ("b_11", None, None), ("b_11", None, [("data", "voc:")])]
)
def test_a_candidate_holds_what_tools_rely_on(given):
    with pytest.raises(TypeError, match="a ResolvedCandidate has"):
        ResolvedCandidate(*given)
    assert ResolvedCandidate("b_11", Path("w.safetensors"), {"data": "voc:"}).weights == Path("w.safetensors")
