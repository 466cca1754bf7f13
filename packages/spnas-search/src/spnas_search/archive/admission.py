"""From proposals to candidates: numbers, ages, seeds, and what a proposal must satisfy."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from spnas_core.errors import ArchiveError
from spnas_core.morphisms import Rewrite, align, identity
from spnas_search.archive.candidate import NODES, Candidate, Inherit, Kind, Phase, Proposal
from spnas_search.archive.intake import plain_proposal

PARENTS: dict[Kind, frozenset[Kind | None]] = {
    "start": frozenset({None}),
    "child": NODES,
    "reignition": NODES,
    "control": NODES | {"control", "rung"},
    "replicate": NODES | {None},
    "rung": NODES | {"control", "rung"},
    "warm": frozenset({None}),
    "final": NODES | {None, "control", "rung", "warm"},
    "trained": NODES | {None, "rung"},
}
"""What may be the parent of each kind."""

_UNCHANGED: frozenset[Kind] = frozenset({"control", "rung", "reignition", "trained"})
"""Kinds that are their parent itself, trained on."""


@dataclass(frozen=True)
class Sources:
    """Whose weights evaluations begin with.

    Attributes:
        inherit: what children begin with.
        newest: by child, its newest done rung, whose weights its children inherit; none where it has none.
    """

    inherit: Inherit
    newest: Mapping[int, int] = field(default_factory=dict)

    def source(self, known: Sequence[Candidate], proposal: Proposal) -> int | None:
        """Whose weights a proposal inherits; None where it begins with fresh or given ones."""
        parent = None if proposal.parent is None else known[proposal.parent]
        if proposal.kind == "replicate" and proposal.subject is not None:
            return known[proposal.subject].source
        if parent is None or proposal.kind in {"rung", "final", "trained"}:
            return proposal.parent
        if proposal.kind == "reignition" and self.inherit == "warm-start":
            return self.newest.get(parent.id, parent.id)
        return self.source_of_child(known, parent)

    def source_of_child(self, known: Sequence[Candidate], parent: Candidate) -> int | None:
        """Whose weights a child of a candidate begins with; None where it begins with fresh ones."""
        if self.inherit == "none":
            return None
        if self.inherit == "supernet":
            return _start(known)
        if self.inherit == "parent":
            return self.newest.get(parent.id, parent.id)
        return _warm_start(known, parent)

    def age(self, known: Sequence[Candidate], proposal: Proposal) -> int:
        """Epochs in the lineage of the weights that a proposal leads to, its own included."""
        return _age(known, proposal, self.source(known, proposal))


@dataclass(frozen=True)
class Admission:
    """Turns proposals of a round into candidates with consecutive numbers.

    Attributes:
        run_seed: the candidates' seeds follow from it.
        sources: whose weights they begin with.
    """

    run_seed: int
    sources: Sources

    def admit(
        self,
        known: Sequence[Candidate],
        proposals: Sequence[Proposal],
        *,
        round_number: int,
        phase: Phase,
        threads: int,
    ) -> tuple[Candidate, ...]:
        """Check proposals and number them.

        Args:
            known: candidates of earlier rounds.
            proposals: of this round.
            round_number: of this round.
            phase: what this round is for.
            threads: that each is evaluated with.

        Raises:
            ArchiveError: a proposal that breaks a rule of ``Archive.commit_round``.
        """
        admitted = []
        for number, given in enumerate(proposals, len(known)):
            proposal = plain_proposal(given, f"proposal {number}")
            _check_pretraining(proposal, f"proposal {number} ({proposal.kind} {proposal.rewrite.child})")
            parent = _parent(known, proposal, f"proposal {number} ({proposal.kind} {proposal.rewrite.child})")
            subject = _subject(known, proposal, parent, number)
            source = self.sources.source(known, proposal)
            admitted.append(
                Candidate(
                    id=number,
                    round=round_number,
                    phase=phase,
                    kind=proposal.kind,
                    subject=subject,
                    parent=proposal.parent,
                    source=source,
                    rewrite=proposal.rewrite,
                    fidelity=proposal.fidelity,
                    split=proposal.split,
                    preference=proposal.preference,
                    strategy=proposal.strategy,
                    pretraining=proposal.pretraining,
                    age=_age(known, proposal, source),
                    seed=candidate_seed(self.run_seed, number),
                    threads=threads,
                )
            )
        return tuple(admitted)


def _age(known: Sequence[Candidate], proposal: Proposal, source: int | None) -> int:
    return proposal.epochs + (0 if source is None else known[source].age)


def _start(known: Sequence[Candidate]) -> int:
    return next(one.id for one in known if one.kind == "start")


def _warm_start(known: Sequence[Candidate], parent: Candidate) -> int:
    """The nearest reignition among a candidate and its ancestors, else the start."""
    at = known[parent.subject]
    while at.kind == "child" and at.parent is not None:
        at = known[at.parent]
    return at.id


def candidate_seed(run_seed: int, number: int) -> int:
    """Derive a candidate's seed: 31 bit, the same on every machine, unrelated between neighbours."""
    return int(np.random.SeedSequence(run_seed, spawn_key=(number,)).generate_state(1)[0] >> 1)


def _parent(known: Sequence[Candidate], proposal: Proposal, what: str) -> Candidate | None:
    allowed = PARENTS[proposal.kind]
    if proposal.parent is None:
        if None not in allowed:
            raise ArchiveError(f"{what} has parent None: the parent of a {proposal.kind} is {_listed(allowed)}")
        return None
    if not 0 <= proposal.parent < len(known):
        raise ArchiveError(f"{what} has parent {proposal.parent}, which is in no earlier round")
    parent = known[proposal.parent]
    if parent.kind not in allowed:
        raise ArchiveError(
            f"{what} has parent {parent.id}, a {parent.kind}: the parent of a {proposal.kind} is {_listed(allowed)}"
        )
    if proposal.rewrite.parent != parent.architecture:
        raise ArchiveError(f"{what} rewrites {proposal.rewrite.parent}, but its parent is {parent.architecture}")
    if proposal.kind in _UNCHANGED and not _is_identity(proposal.rewrite):
        raise ArchiveError(f"{what} rewrites its parent: a {proposal.kind} is the parent itself, trained on")
    return parent


def _check_pretraining(proposal: Proposal, what: str) -> None:
    if proposal.kind == "reignition" and proposal.pretraining is None:
        raise ArchiveError(f"{what} has no pretraining: that is what a reignition is")
    if proposal.kind not in {"reignition", "replicate", "final"} and proposal.pretraining is not None:
        raise ArchiveError(f"{what} has a pretraining: only a reignition, its replicates and finals have one")


def _subject(known: Sequence[Candidate], proposal: Proposal, parent: Candidate | None, number: int) -> int:
    """Which start or child the score will say something of."""
    what = f"proposal {number} ({proposal.kind} {proposal.rewrite.child})"
    if proposal.kind in NODES:
        return number
    if proposal.subject is None and parent is not None and parent.kind != "warm" and proposal.kind != "replicate":
        return parent.subject
    subject = proposal.subject
    if subject is None or not 0 <= subject < len(known) or not known[subject].is_node:
        raise ArchiveError(f"{what} has subject {subject}: it must be the start or child that its score is of")
    if known[subject].architecture != proposal.rewrite.child:
        raise ArchiveError(f"{what} has subject {subject}, which is {known[subject].architecture}")
    if proposal.kind == "replicate" and known[subject].parent != proposal.parent:
        raise ArchiveError(f"{what} has parent {proposal.parent}: a replicate has that of its subject {subject}")
    return subject


def _listed(kinds: frozenset[Kind | None]) -> str:
    names = sorted(kind for kind in kinds if kind is not None)
    if not names:
        return "None"
    return f"{'nothing, or ' if None in kinds else ''}a {' or '.join(sorted(names, reverse=True))}"


def _is_identity(rewrite: Rewrite) -> bool:
    return rewrite.child == rewrite.parent and rewrite.block_map == tuple(range(len(rewrite.child.digits)))


def rewrite_from_source(known: Sequence[Candidate], candidate: Candidate, inherit: Inherit) -> Rewrite:
    """Return the rewrite between the architecture whose weights a candidate inherits, and its own.

    Args:
        known: all candidates, by number.
        candidate: one of them.
        inherit: what children begin with; see ``Contents.rewrite_from_source``.
    """
    if candidate.source is None:
        return identity(candidate.architecture)
    composed = candidate.rewrite
    at, source = candidate.parent, known[candidate.source]
    # A rung's weights are those of the child that it has trained on.
    ends = {source.id, source.subject} if source.kind == "rung" else {source.id}
    if inherit == "supernet" and source.kind == "start":
        return align(source.architecture, candidate.architecture)
    while at is not None and at not in ends:
        composed = known[at].rewrite.then(composed)
        at = known[at].parent
    return composed
