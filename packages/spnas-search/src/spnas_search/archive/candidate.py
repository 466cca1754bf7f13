"""Proposals and candidates: what is to be evaluated, and what the archive knows about it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from spnas_core.encoding import Architecture
from spnas_core.morphisms import Rewrite
from spnas_core.tasks.protocols import Split

Kind = Literal["start", "child", "control", "final"]
Status = Literal["proposed", "done", "failed"]


@dataclass(frozen=True)
class Proposal:
    """What is to be evaluated.

    Attributes:
        kind: ``start``, the network that a search begins with; ``child``, a rewrite of its parent;
            ``control``, the parent trained on by a child's epochs with the identity rewrite; ``final``,
            scored on test images at the end of a search.
        parent: candidate whose weights are inherited; None for the start.
        rewrite: the architecture and where its blocks come from.
        epochs: to train.
        split: images to score on.
    """

    kind: Kind
    parent: int | None
    rewrite: Rewrite
    epochs: int
    split: Split = "validation"


@dataclass(frozen=True)
class Candidate:
    """One evaluation of a run, from its proposal on.

    Attributes:
        id: its number, counted from 0 in order of proposal.
        round: the round in which it was proposed, from 0.
        kind: see ``Proposal``.
        parent: candidate whose weights are inherited; None for the start.
        rewrite: the architecture and where its blocks come from.
        epochs: to train, on top of the parent's.
        split: images to score on.
        age: epochs in its lineage, its own included.
        seed: of everything random in its evaluation, 31 bit.
        threads: CPU threads that its evaluation computes with; results depend on them in the last bits.
        status: ``proposed`` until its evaluation has ended.
        reason: why it failed; empty otherwise.
        metrics: by name, NaN where undefined; empty until done.
        cost: by name; empty until done.
        receipt: what was inherited, as plain values.
        seconds: that the evaluation took.
        checksum: of its weights file; None where none was written.
    """

    id: int
    round: int
    kind: Kind
    parent: int | None
    rewrite: Rewrite
    epochs: int
    split: Split
    age: int
    seed: int
    threads: int
    status: Status = "proposed"
    reason: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict, hash=False)
    cost: Mapping[str, float] = field(default_factory=dict, hash=False)
    receipt: Mapping[str, object] = field(default_factory=dict, hash=False)
    seconds: float = 0.0
    checksum: str | None = None

    @property
    def architecture(self) -> Architecture:
        """The network that is evaluated."""
        return self.rewrite.child
