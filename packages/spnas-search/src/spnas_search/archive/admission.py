"""From proposals to candidates: numbers, ages, seeds, and what a proposal must satisfy."""

from collections.abc import Sequence

import numpy as np

from spnas_core.errors import ArchiveError
from spnas_core.morphisms import Rewrite
from spnas_search.archive.candidate import Candidate, Proposal
from spnas_search.archive.intake import plain_proposal


def admit(
    known: Sequence[Candidate],
    proposals: Sequence[Proposal],
    *,
    round_number: int,
    run_seed: int,
    threads: int,
) -> tuple[Candidate, ...]:
    """Turn a round of proposals into candidates with consecutive numbers.

    Args:
        known: candidates of earlier rounds.
        proposals: of this round.
        round_number: of this round.
        run_seed: the candidates' seeds follow from it.
        threads: that each is evaluated with.

    Raises:
        ArchiveError: a proposal that breaks a rule of ``Archive.commit_round``.
    """
    return tuple(
        _admit_one(
            known,
            proposal,
            len(known) + offset,
            round_number=round_number,
            run_seed=run_seed,
            threads=threads,
        )
        for offset, proposal in enumerate(proposals)
    )


def candidate_seed(run_seed: int, number: int) -> int:
    """Derive a candidate's seed: 31 bit, the same on every machine, unrelated between neighbours."""
    return int(np.random.SeedSequence(run_seed, spawn_key=(number,)).generate_state(1)[0] >> 1)


def _admit_one(
    known: Sequence[Candidate],
    proposal: Proposal,
    number: int,
    *,
    round_number: int,
    run_seed: int,
    threads: int,
) -> Candidate:
    proposal = plain_proposal(proposal, f"proposal {number}")
    what = f"proposal {number} ({proposal.kind} {proposal.rewrite.child})"
    parent = _parent(known, proposal, what)
    if proposal.epochs < 0:
        raise ArchiveError(f"{what} asks for {proposal.epochs} epochs: it must be 0 or more")
    return Candidate(
        id=number,
        round=round_number,
        kind=proposal.kind,
        parent=proposal.parent,
        rewrite=proposal.rewrite,
        epochs=proposal.epochs,
        split=proposal.split,
        age=proposal.epochs + (0 if parent is None else parent.age),
        seed=candidate_seed(run_seed, number),
        threads=threads,
    )


def _parent(known: Sequence[Candidate], proposal: Proposal, what: str) -> Candidate | None:
    if (proposal.kind == "start") != (proposal.parent is None):
        raise ArchiveError(f"{what} has parent {proposal.parent}: a start has none, everything else has one")
    if proposal.parent is None:
        return None
    if not 0 <= proposal.parent < len(known):
        raise ArchiveError(f"{what} has parent {proposal.parent}, which is in no earlier round")
    parent = known[proposal.parent]
    allowed = {"start", "child"} if proposal.kind == "child" else {"start", "child", "control"}
    if parent.kind not in allowed:
        raise ArchiveError(
            f"{what} has parent {parent.id}, a {parent.kind}: the parent of a {proposal.kind} is a "
            f"{' or '.join(sorted(allowed, reverse=True))}"
        )
    if proposal.rewrite.parent != parent.architecture:
        raise ArchiveError(f"{what} rewrites {proposal.rewrite.parent}, but its parent is {parent.architecture}")
    if proposal.kind == "control" and not _is_identity(proposal.rewrite):
        raise ArchiveError(f"{what} rewrites its parent: a control is the parent itself, trained on")
    return parent


def _is_identity(rewrite: Rewrite) -> bool:
    return rewrite.child == rewrite.parent and rewrite.block_map == tuple(range(len(rewrite.child.digits)))
