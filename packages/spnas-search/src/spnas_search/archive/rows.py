"""Candidates as rows of a table: plain numbers, texts and JSON, read without executing anything."""

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

from spnas_core.encoding import Architecture
from spnas_core.errors import ArchiveError, SpnasError
from spnas_core.morphisms import Rewrite, Step
from spnas_core.tasks import Fidelity, Pretraining
from spnas_search.archive.candidate import Candidate
from spnas_search.archive.schema import row_digest

Row = tuple[Any, ...]

COLUMNS = (
    "id", "round", "phase", "kind", "subject", "parent", "source", "parent_code", "code", "block_map", "steps",
    "epochs", "width", "height", "share", "rung", "split", "preference", "strategy", "pretrain_epochs",
    "pretrain_fresh", "age", "seed", "threads",
    "status", "reason", "metrics", "cost", "receipt", "seconds", "checksum", "digest",
)  # fmt: skip
SELECT = f"SELECT {', '.join(COLUMNS)} FROM candidates ORDER BY id"  # noqa: S608 - constants only
INSERT = f"INSERT INTO candidates VALUES ({', '.join('?' * len(COLUMNS))})"  # noqa: S608
UPDATE_RESULT = (
    "UPDATE candidates SET status = ?, reason = ?, metrics = ?, cost = ?, receipt = ?, seconds = ?, "
    "checksum = ?, digest = ? WHERE id = ? AND status = ?"
)
"""Takes the values of ``result_row``, the candidate's number, and the status that it must have so far."""


def to_row(candidate: Candidate) -> Row:
    """Write a candidate as the values of ``COLUMNS``."""
    values = (*_proposal_row(candidate), *_outcome_row(candidate))
    return (candidate.id, *values, row_digest(values))


def result_row(candidate: Candidate) -> Row:
    """Write what an evaluation changes: the values of the last eight columns."""
    outcome = _outcome_row(candidate)
    return (*outcome, row_digest((*_proposal_row(candidate), *outcome)))


def _proposal_row(candidate: Candidate) -> Row:
    rewrite, fidelity, pretraining = candidate.rewrite, candidate.fidelity, candidate.pretraining
    width, height = fidelity.image_size or (None, None)
    return (
        candidate.round,
        candidate.phase,
        candidate.kind,
        candidate.subject,
        candidate.parent,
        candidate.source,
        str(rewrite.parent),
        str(rewrite.child),
        json.dumps(rewrite.block_map),
        json.dumps([[step.morphism, step.detail, step.promise] for step in rewrite.steps]),
        fidelity.epochs,
        width,
        height,
        fidelity.share,
        fidelity.rung,
        candidate.split,
        candidate.preference,
        candidate.strategy,
        None if pretraining is None else pretraining.epochs,
        None if pretraining is None else int(pretraining.fresh),
        candidate.age,
        candidate.seed,
        candidate.threads,
    )


def _outcome_row(candidate: Candidate) -> Row:
    return (
        candidate.status,
        candidate.reason,
        json.dumps(dict(candidate.metrics)),
        json.dumps(dict(candidate.cost)),
        json.dumps(dict(candidate.receipt)),
        candidate.seconds,
        candidate.checksum,
    )


def from_row(row: Row) -> Candidate:
    """Read a candidate back.

    Raises:
        CodeError: a code that cannot be read, for example because the plugin of its block type is not
            installed.
        ValueError: a damaged row.
    """
    values = dict(zip(COLUMNS, row, strict=True))
    if values.pop("digest") != row_digest(row[1:-1]):
        raise ValueError("something else than was written")
    steps = tuple(Step(morphism, detail, promise) for morphism, detail, promise in _decoded(values.pop("steps")))
    rewrite = Rewrite(
        parent=_parse(values.pop("parent_code")),
        child=_parse(values.pop("code")),
        block_map=tuple(_decoded(values.pop("block_map"))),
        steps=steps,
    )
    for name in ("metrics", "cost", "receipt"):
        values[name] = _decoded(values[name])
    width, height = values.pop("width"), values.pop("height")
    size = None if width is None or height is None else (width, height)
    fidelity = Fidelity(values.pop("epochs"), size, values.pop("share"), values.pop("rung"))
    pretrain_epochs, fresh = values.pop("pretrain_epochs"), values.pop("pretrain_fresh")
    pretraining = None if pretrain_epochs is None else Pretraining(pretrain_epochs, bool(fresh))
    return Candidate(rewrite=rewrite, fidelity=fidelity, pretraining=pretraining, **values)


_DECODER = json.JSONDecoder()


def read(row: Row, path: Path) -> Candidate:
    """Return the candidate of a row.

    Args:
        row: of the table.
        path: of the archive, for messages.

    Raises:
        ArchiveError: it cannot be read.
    """
    try:
        return from_row(row)
    except SpnasError as error:
        raise ArchiveError(f"candidate {row[0]} of {path} cannot be read: {error}") from error
    except (json.JSONDecodeError, TypeError, ValueError) as error:
        raise ArchiveError(f"archive {path} is damaged: candidate {row[0]} holds {error}") from error


def _decoded(text: str) -> Any:
    """Decode JSON that was written here; the row's digest has told that nothing else stands there."""
    return _DECODER.raw_decode(text)[0]


@lru_cache(maxsize=4096)
def _parse(code: str) -> Architecture:
    return Architecture.parse(code)
