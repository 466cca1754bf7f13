"""Proposals and candidates: what is to be evaluated, and what the archive knows about it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from spnas_core.encoding import Architecture
from spnas_core.morphisms import Rewrite
from spnas_core.tasks import Fidelity, Pretraining
from spnas_core.tasks.protocols import Split
from spnas_search.archive.frozen import frozen

Kind = Literal["start", "child", "reignition", "control", "replicate", "rung", "warm", "final", "trained"]
Phase = Literal["start", "noise", "search", "finalists", "verdict", "training"]
ENDING: frozenset[Phase] = frozenset({"finalists", "verdict", "training"})
"""Phases in which no children are proposed any more."""
NODES: frozenset[Kind] = frozenset({"start", "child", "reignition"})
"""Kinds that stand in the tree of descent: what may be a parent, and what scores say something of."""
OFFSPRING: frozenset[Kind] = frozenset({"child", "reignition"})
"""Kinds that a strategy proposes."""
Status = Literal["proposed", "done", "failed"]
Inherit = Literal["parent", "warm-start", "none", "supernet"]
"""What a child's training begins with: its parent's weights; those of the start after its warm start, through the
composed rewrite; fresh ones; or those of the start, which its parts were trained to share: each child is one."""
HEIRLESS: frozenset[Inherit] = frozenset({"none", "supernet"})
"""Ways to inherit by which no child begins with a rewritten candidate's weights."""


@dataclass(frozen=True)
class Proposal:
    """What is to be evaluated.

    Attributes:
        kind: ``start``, the network that a search begins with; ``child``, a rewrite of its parent; ``reignition``, its
            parent after classification pretraining, a node of its own; ``control``, the parent trained on by a child's
            epochs with the identity rewrite; ``replicate``, a start's or child's
            evaluation once more, with another seed; ``rung``, its parent trained on because it did well; ``warm``, a
            fresh warm start of the verdict; ``final``, scored on test images for the verdict; ``trained``, the winner,
            trained for use when the search is over.
        parent: start or child that is rewritten; of a control, rung, final or trained winner what is trained on; None
            for the start, a warm start, and a final or winner from fresh weights.
        rewrite: the architecture and where its blocks come from.
        fidelity: how much is spent on it.
        split: images to score on.
        subject: start or child that the score says something of; None is the one that follows from the parent, or the
            candidate itself.
        preference: what a screen preferred it by, or expected of it where it tells the two apart; higher is better;
            None where no screen was asked.
        strategy: which of the search's strategies proposes it, from 0, where they follow one another.
        pretraining: what its backbone is trained on before; None for nothing.
    """

    kind: Kind
    parent: int | None
    rewrite: Rewrite
    fidelity: Fidelity
    split: Split = "validation"
    subject: int | None = None
    preference: float | None = None
    strategy: int = 0
    pretraining: Pretraining | None = None

    @property
    def epochs(self) -> int:
        """Epochs to train."""
        return self.fidelity.epochs


@dataclass(frozen=True)
class Candidate:
    """One evaluation of a run, from its proposal on. Whoever is given one can change nothing in it.

    Attributes:
        id: its number, counted from 0 in order of proposal.
        round: the round in which it was proposed, from 0.
        phase: what that round is for.
        kind: see ``Proposal``.
        subject: start or child that the score says something of; itself for a start or child.
        parent: see ``Proposal``.
        source: candidate whose weights are inherited; None for fresh weights, or the run's initial ones.
        rewrite: from the parent's architecture; the identity where there is none.
        fidelity: how much is spent on it.
        split: images to score on.
        preference: what a screen preferred it by, or expected of it where it tells the two apart; higher is better;
            None where no screen was asked.
        strategy: which of the search's strategies has proposed it, from 0.
        pretraining: what its backbone is trained on before; None for nothing.
        age: epochs in the lineage of its weights, its own included; those of pretraining are not.
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
    phase: Phase
    kind: Kind
    subject: int
    parent: int | None
    source: int | None
    rewrite: Rewrite
    fidelity: Fidelity
    split: Split
    preference: float | None
    strategy: int
    pretraining: Pretraining | None
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

    def __post_init__(self) -> None:
        for name in ("metrics", "cost", "receipt"):
            object.__setattr__(self, name, frozen(getattr(self, name)))

    @property
    def architecture(self) -> Architecture:
        """The network that is evaluated."""
        return self.rewrite.child

    @property
    def epochs(self) -> int:
        """Epochs to train, on top of those of the weights that are inherited."""
        return self.fidelity.epochs

    @property
    def is_node(self) -> bool:
        """Whether it stands in the tree of descent: a start, child or reignition."""
        return self.kind in NODES
