"""Hypothesis strategies that draw architectures."""

from dataclasses import replace

from hypothesis import strategies as st

from spnas_core.encoding import Architecture


@st.composite
def architectures(draw: st.DrawFn) -> Architecture:
    """Draw from the whole grammar: every built-in block and stem, any base, parallel codes included."""
    stages = tuple(draw(st.lists(st.text("12", min_size=1, max_size=4), min_size=1, max_size=6)))
    rows = draw(st.one_of(st.just(()), st.tuples(*[st.integers(0, 3)] * len(stages))))
    return Architecture(
        block=draw(st.sampled_from(["b", "r", "x32x4d", "x64x4d"])),
        stages=stages,
        base=draw(st.integers(16, 96)),
        stem=draw(st.sampled_from(["conv7", "deep"])),
        rows=tuple(rows),
        shares_rows=draw(st.booleans()),
    )


@st.composite
def serial_architectures(draw: st.DrawFn) -> Architecture:
    """Draw networks that run in milliseconds: two to four stages, few channels, at most three doublings."""
    digits = list("-".join(draw(st.lists(st.text("1", min_size=1, max_size=3), min_size=2, max_size=4))))
    places = [place for place, digit in enumerate(digits) if digit == "1"]
    for place in draw(st.sets(st.sampled_from(places), max_size=3)):
        digits[place] = "2"
    block, base = draw(st.sampled_from([("b", 4), ("r", 4), ("x32x4d", 16)]))
    stem = draw(st.sampled_from(["conv7", "deep"]))
    return Architecture(block, tuple("".join(digits).split("-")), base, stem)


@st.composite
def parallel_architectures(draw: st.DrawFn) -> Architecture:
    """Draw such small networks with up to two rows beside each stage, of either kind."""
    serial = draw(serial_architectures())
    rows = draw(st.tuples(*[st.integers(0, 2)] * len(serial.stages)))
    return replace(serial, rows=rows, shares_rows=draw(st.booleans()))
