"""Hypothesis strategies that draw architectures."""

from dataclasses import replace

from hypothesis import strategies as st

from spnas_core.encoding import Architecture

SMALL = (("b", 4), ("r", 4), ("x32x4d", 16), ("d", 4), ("g4", 8), ("g4s", 16), ("m3k3", 4), ("m6k5s", 8), ("m1k3s", 16))
"""Block types, and base channels of which their networks are small."""


@st.composite
def architectures(draw: st.DrawFn) -> Architecture:
    """Draw from the whole grammar: every built-in block and stem, any base, parallel codes included."""
    block = draw(st.sampled_from(["b", "r", "x32x4d", "x64x4d", "d", "g4", "g4s", "m1k3s", "m3k7", "m6k5s"]))
    stages = tuple(draw(st.lists(st.text("12", min_size=1, max_size=4), min_size=1, max_size=6)))
    rows = draw(st.one_of(st.just(()), st.tuples(*[st.integers(0, 3)] * len(stages))))
    return Architecture(
        block=block,
        stages=stages,
        base=4 * draw(st.integers(4, 24)) if block.startswith("g4") else draw(st.integers(16, 96)),
        stem=draw(st.sampled_from(["conv7", "deep"])),
        rows=tuple(rows),
        shares_rows=draw(st.booleans()),
        neck=draw(st.sampled_from(["", "", "fpn", "merge:o0@0=in0+in1;o1@1=gp(in1,o0)"])),
    )


@st.composite
def serial_architectures(draw: st.DrawFn) -> Architecture:
    """Draw networks that run in milliseconds: two to four stages, few channels, at most three doublings."""
    digits = list("-".join(draw(st.lists(st.text("1", min_size=1, max_size=3), min_size=2, max_size=4))))
    places = [place for place, digit in enumerate(digits) if digit == "1"]
    for place in draw(st.sets(st.sampled_from(places), max_size=3)):
        digits[place] = "2"
    block, base = draw(st.sampled_from(SMALL))
    stem = draw(st.sampled_from(["conv7", "deep"]))
    return Architecture(block, tuple("".join(digits).split("-")), base, stem)


@st.composite
def parallel_architectures(draw: st.DrawFn) -> Architecture:
    """Draw such small networks with up to two rows beside each stage, of either kind."""
    serial = draw(serial_architectures())
    rows = draw(st.tuples(*[st.integers(0, 2)] * len(serial.stages)))
    return replace(serial, rows=rows, shares_rows=draw(st.booleans()))
